"""`openhtc up --detach`: the same service in a session of its own, its events read from a pipe."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from openhtc.domain.errors import SettingsError
from openhtc.embedded.child import last_lines
from openhtc.embedded.events import Event, Happening, Listener
from openhtc.embedded.layout import open_layout
from openhtc.embedded.options import UpOptions


class DetachedFailedError(SettingsError):
    """The detached service did not come up; ``part`` is the one that failed, empty when none was to blame."""

    def __init__(self, text: str, part: str) -> None:
        super().__init__(text)
        self.part = part


class PipeListener:
    """Writes events to a pipe until the service is up or has failed; a reader that left is no error."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor
        os.set_inheritable(descriptor, False)

    def __call__(self, event: Event) -> None:
        if self._descriptor is None:
            return
        over = event.happening in (Happening.ALL_READY, Happening.FAILED)
        try:
            os.write(self._descriptor, msgspec.json.encode(event) + b"\n")
        except BrokenPipeError:
            over = True
        if over:
            os.close(self._descriptor)
            self._descriptor = None


def start_detached(options: UpOptions, listener: Listener) -> int:
    """Start the service, pass its events on and return its pid when all of it is ready.

    Raises DetachedFailedError. An interrupt of the caller stops the service that is coming up.
    """
    log = open_layout(options.data).log("up-output")
    reader, writer = os.pipe()
    with log.open("ab") as output:
        service = subprocess.Popen(
            [sys.executable, "-m", "openhtc.cli.main", *up_arguments(options), "--events-to", str(writer)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            start_new_session=True,
            pass_fds=(writer,),
        )
    os.close(writer)
    try:
        _wait_until_up(reader, listener, log)
    except BaseException:
        service.send_signal(signal.SIGTERM)
        service.wait()
        raise
    return service.pid


def up_arguments(options: UpOptions) -> list[str]:
    """The command line that means the same options."""
    found = ["up", "--data", str(options.data.absolute())]
    found += ["--runtime", options.runtime, "--network", options.network]
    for name, value in (("port", options.port), ("vcpus", options.vcpus), ("memory-mib", options.memory_mib)):
        if value is not None:
            found += [f"--{name}", str(value)]
    return found


def _wait_until_up(reader: int, listener: Listener, log: Path) -> None:
    for event in _events(reader):
        if event.happening is Happening.FAILED:
            raise DetachedFailedError(event.text, event.part)
        listener(event)
        if event.happening is Happening.ALL_READY:
            return
    tail = "".join(f"\n  {line}" for line in last_lines(log))
    raise DetachedFailedError(f"the service ended before it was up; the end of {log}:{tail}", "")


def _events(reader: int) -> Iterator[Event]:
    with os.fdopen(reader, "rb") as lines:
        for line in lines:
            yield msgspec.json.decode(line, type=Event)
