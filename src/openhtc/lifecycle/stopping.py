"""Asking a threaded program to stop: by a signal, or by one of its own threads."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGTERM, signal.SIGINT)
DRAIN = signal.SIGUSR1
"""Take nothing more, and end when what goes on has ended by itself."""
EXIT_DRAINED = 10
"""Of a program that was drained: it is not to be started again by itself."""


class Stop:
    """A request to stop that becomes urgent when it is repeated; the mildest one is to drain.

    Any thread may ask, look and wait; nothing is ever taken back.
    """

    def __init__(self) -> None:
        self._requested = threading.Event()
        self._at_once = threading.Event()
        self._lock = threading.Lock()
        self._asked = False
        self._patient = False
        self._drained = False

    @property
    def requested(self) -> bool:
        return self._requested.is_set()

    @property
    def patient(self) -> bool:
        """Asked to drain, and not asked for more than that: what goes on may end by itself, however long it takes."""
        return self._patient

    @property
    def drained(self) -> bool:
        """Asked to drain, whatever else came later."""
        return self._drained

    @property
    def at_once(self) -> bool:
        """Asked a second time: nothing is waited for any more."""
        return self._at_once.is_set()

    def drain(self) -> None:
        """Ask to take nothing more and to end when nothing goes on; changes nothing after a request to stop."""
        with self._lock:
            self._drained = True
            self._patient = self._patient or not self._requested.is_set()
            self._requested.set()

    def announce(self) -> None:
        """The end is near: stop, and do not start again. Neither the first nor the second of several requests."""
        with self._lock:
            self._drained = True
            self._patient = False
            self._requested.set()

    def request(self) -> None:
        """Ask to stop; a second call asks to stop at once."""
        with self._lock:
            if self._asked:
                self._at_once.set()
            self._asked = True
            self._patient = False
            self._requested.set()

    def wait(self, seconds: float | None = None) -> bool:
        """Sleep for ``seconds`` or until a stop is requested; says whether one is."""
        return self._requested.wait(seconds)

    def wait_at_once(self, seconds: float | None = None) -> bool:
        """Sleep for ``seconds`` or until a stop is requested a second time."""
        return self._at_once.wait(seconds)


@contextmanager
def stop_on_signals(stop: Stop, signals: tuple[signal.Signals, ...] = SIGNALS) -> Iterator[None]:
    """While inside, each of ``signals`` is a ``stop.request()``, DRAIN a ``stop.drain()``. Only for the main thread.

    The handler only writes a byte; a thread of its own makes the request, since a handler that runs in the
    middle of Event.wait() would wait for a lock of its own thread.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    listener = threading.Thread(target=_listen, args=(reader, stop), name="signals", daemon=True)
    listener.start()
    previous = {number: signal.signal(number, lambda *_: _poke(writer, _STOP)) for number in signals}
    previous[DRAIN] = signal.signal(DRAIN, lambda *_: _poke(writer, _DRAIN))
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        os.close(writer)
        listener.join()
        os.close(reader)


_STOP, _DRAIN = b"!", b"."


def _poke(writer: int, what: bytes) -> None:
    try:
        os.write(writer, what)
    except BlockingIOError:
        return  # 64 KiB of unread signals say the same as one more


def _listen(reader: int, stop: Stop) -> None:
    while what := os.read(reader, 1):
        if what == _DRAIN:
            stop.drain()
        else:
            stop.request()
