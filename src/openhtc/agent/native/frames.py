"""What the agent and a slot's program say to each other: frames of a header and a payload, as slot.h has them."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

MAX_FRAME = 4 << 20

_HEADER = struct.Struct("<IIQ")
_RUN = struct.Struct("<IIIIIIQ")
_NUMBER = struct.Struct("<i")
_STARTED = struct.Struct("<q")
_ENDED = struct.Struct("<qqqqiIiIII")


class Kind(IntEnum):
    RUN = 1
    SIGNAL = 2
    RECALL = 3
    STARTED = 16
    OUTPUT = 17
    ENDED = 18
    RESTING = 19


class Stage(IntEnum):
    """How far a job came."""

    RAN = 0
    CANNOT_EXECUTE = 1
    NODE_FAILED = 2
    NOT_BEGUN = 3
    NO_WORKDIR = 4


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of one job; times in microseconds since the epoch."""

    started_us: int
    ended_us: int
    cpu_us: int
    peak_bytes: int
    """0 when the kernel does not tell."""
    exit_code: int
    """As a shell shows it."""
    stage: Stage
    error: int
    """errno of what failed, unless the program ran."""
    disk_full: bool
    oom_kills: int
    what: str
    """What failed."""


def run_head(uid: int, gid: int, groups: tuple[int, ...], args: int, variables: int, shm_bytes: int) -> bytes:
    """The numbers of a request to run a job; its strings follow, each with a zero byte."""
    numbers = _RUN.pack(uid, gid, len(groups), args, variables, 0, shm_bytes)
    return numbers + struct.pack(f"<{len(groups)}I", *groups)


def run(job: int, payload: bytes) -> bytes:
    return _HEADER.pack(len(payload), Kind.RUN, job) + payload


def signal(job: int, number: int) -> bytes:
    return _HEADER.pack(_NUMBER.size, Kind.SIGNAL, job) + _NUMBER.pack(number)


def recall(job: int) -> bytes:
    """Do not begin the job; nothing happens when it has begun."""
    return _HEADER.pack(0, Kind.RECALL, job)


def started_us(payload: bytes) -> int:
    microseconds: int = _STARTED.unpack(payload)[0]
    return microseconds


def ended(payload: bytes) -> Ended:
    begin, end, cpu, peak, code, stage, error, flags, ooms, _ = _ENDED.unpack_from(payload)
    what = payload[_ENDED.size :].decode(errors="replace") if len(payload) > _ENDED.size else ""
    return Ended(begin, end, cpu, peak, code, Stage(stage), error, bool(flags & 1), ooms, what)


class Reader:
    """Puts pieces of the stream together again."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[tuple[int, int, bytes]]:
        """The whole frames: (kind, job, payload)."""
        buffer = self._rest + data if self._rest else data
        at, size = 0, len(buffer)
        while size - at >= _HEADER.size:
            length, kind, job = _HEADER.unpack_from(buffer, at)
            begin, end = at + _HEADER.size, at + _HEADER.size + length
            if end > size:
                break
            at = end
            yield kind, job, buffer[begin:end]
        self._rest = buffer[at:]
