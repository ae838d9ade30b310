"""`openhtc up` in the foreground: start the stack, stay until asked to stop, stop in order."""

import asyncio
import signal

from openhtc.domain.errors import SettingsError
from openhtc.embedded.event_log import EventLog
from openhtc.embedded.events import Event, Happening, Listener
from openhtc.embedded.options import UpOptions
from openhtc.embedded.stack import Stack
from openhtc.embedded.supervised import PartFailedError

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


async def serve(options: UpOptions, listener: Listener) -> None:
    """Run the service until SIGTERM, SIGINT or SIGHUP; a second signal shortens every wait of the stop.

    Must run in the main thread. Raises SettingsError when the service cannot be started; the listener is told
    too, after everything that was started has been stopped.
    """
    listeners = [listener]
    try:
        stack = Stack(options, *listeners)
        listeners.append(EventLog(stack.layout.log("up")))
        stack.listeners.append(listeners[-1])
        await _run(stack)
    except SettingsError as error:
        part = error.part if isinstance(error, PartFailedError) else ""
        for each in listeners:
            each(Event(happening=Happening.FAILED, part=part, text=error.message))
        raise


async def _run(stack: Stack) -> None:
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        loop.add_signal_handler(number, _ask, asked, stack)
    try:
        await _start_unless(asked, stack)
        await asked.wait()
    finally:
        await stack.stop()
        for number in SIGNALS:
            loop.remove_signal_handler(number)


def _ask(asked: asyncio.Event, stack: Stack) -> None:
    if asked.is_set():
        stack.supervisor.hurry()
    asked.set()


async def _start_unless(asked: asyncio.Event, stack: Stack) -> None:
    """Start; give up at once when a stop is asked for meanwhile."""
    starting = asyncio.create_task(stack.start())
    waiting = asyncio.create_task(asked.wait())
    await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if not starting.done():
        starting.cancel()
        await asyncio.wait({starting})
    if not starting.cancelled():
        await starting
