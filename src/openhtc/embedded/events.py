"""What happens to the parts, told to whoever listens: the terminal, a log, the command that detached."""

from enum import StrEnum
from typing import Protocol

import msgspec


class Happening(StrEnum):
    """What can happen to a part (or, with the part's name empty, to all of them)."""

    STARTING = "starting"
    READY = "ready"
    DIED = "died"
    START_FAILED = "start_failed"
    LEFTOVER_ENDED = "leftover_ended"
    STOPPING = "stopping"
    STOPPED = "stopped"
    ALL_READY = "all_ready"
    FAILED = "failed"


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One happening. ``text`` is for people; ``seconds`` how long what ended here took."""

    happening: Happening
    part: str = ""
    address: str = ""
    pid: int | None = None
    text: str = ""
    seconds: float = 0.0


class Listener(Protocol):
    def __call__(self, event: Event) -> None:
        """Take note of one event; must not block for long and must not raise."""
