"""Clocks that go wrong: one for each program that is given one, by a library that Debian has.

Only the time of day is moved. The clock that counts on is not, as on a machine whose time is corrected. The library
makes a sleep fail now and then (EINVAL), which no real clock does: agents that have it report faults of their node.
"""

from pathlib import Path

LIBRARIES = tuple(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))


class Clock:
    """The programs with its environment read ``file`` about once a second."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.set(0)

    def set(self, seconds: float) -> None:
        """How much too late it is there; negative: too early."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+.1f}s\n")
        new.replace(self._file)

    @property
    def env(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(LIBRARIES[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }
