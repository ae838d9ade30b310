"""The events of the supervisor in DATA/logs/up.log, one JSON object a line."""

import contextlib
import datetime
from pathlib import Path

import msgspec

from openhtc.embedded.child import rotate
from openhtc.embedded.events import Event


class EventLog:
    """A listener that appends to a file; the file is opened for each event, so it can be moved aside."""

    def __init__(self, path: Path) -> None:
        self._path = path
        rotate(path)

    def __call__(self, event: Event) -> None:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        line = {"timestamp": now, **msgspec.to_builtins(event)}
        # A full disk must not stop the supervisor from doing its work.
        with contextlib.suppress(OSError), self._path.open("ab") as file:
            file.write(msgspec.json.encode(line) + b"\n")
