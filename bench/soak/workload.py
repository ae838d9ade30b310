"""What every job of a soak does, known beforehand: a seed and the job's number decide. worker.c does it."""

import signal
from collections.abc import Iterator
from dataclasses import dataclass

from openhtc.domain.enums import JobStatus

BATCH_SIZE = 1000
MAX_RETRIES = 1
TIMEOUT_SECONDS = 60
"""The shortest that the service takes."""
_LINE_BYTES = 100
_ALL = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Kind:
    """``share``: jobs in 100,000. An exit code of the first attempt only makes the second one succeed."""

    name: str
    share: int
    milliseconds: int = 0
    lines: int = 0
    exit_code: int = 0
    only_first_attempt: bool = False
    signal: int = 0
    times_out: bool = False

    @property
    def status(self) -> JobStatus:
        fails = self.signal or self.times_out or (self.exit_code and not self.only_first_attempt)
        return JobStatus.FAILED if fails else JobStatus.SUCCEEDED

    @property
    def attempts(self) -> int:
        """A time-out is not tried again."""
        return 1 if self.times_out or not (self.exit_code or self.signal) else 1 + MAX_RETRIES


KINDS = (
    Kind("no-op", 60_000),
    Kind("ten lines", 30_100, lines=10),
    Kind("0.1 s", 4_000, 100),
    Kind("0.1 s, ten lines", 2_000, 100, 10),
    Kind("1 s, ten lines", 500, 1000, 10),
    Kind("2 MB of lines", 100, lines=20_000),
    Kind("exit code 3", 1_799, lines=1, exit_code=3),
    Kind("fails once", 1_000, lines=10, exit_code=4, only_first_attempt=True),
    Kind("killed by a signal", 500, signal=signal.SIGSEGV),
    Kind("time-out", 1, 3_600_000, 10, times_out=True),
)
"""The same table stands in worker.c."""


def kind_of(seed: int, job: int) -> Kind:
    """Of the job with this number: 1,000 times its batch's number plus its index."""
    place = _mix(seed ^ _mix(job)) % 100_000
    for kind in KINDS:
        if place < kind.share:
            return kind
        place -= kind.share
    raise AssertionError("the shares make 100,000 together")


def lines_of(job: int, kind: Kind) -> Iterator[str]:
    """The whole log of a job, over all its attempts."""
    for attempt in range(1, kind.attempts + 1):
        for number in range(kind.lines):
            yield line_of(job, attempt, number)


def line_of(job: int, attempt: int, number: int) -> str:
    text = f"{job} {attempt} {number} {_mix((job * 1000003 + number) & _ALL):016x}"
    return text.ljust(_LINE_BYTES - 1, ".")


def _mix(value: int) -> int:
    """splitmix64"""
    value = (value + 0x9E3779B97F4A7C15) & _ALL
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _ALL
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _ALL
    return value ^ (value >> 31)
