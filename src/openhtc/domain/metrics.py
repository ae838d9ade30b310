"""What is counted of a project's jobs in a region: the meaning of each position of ``project_metrics.counters``."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from openhtc.domain.enums import FailureCode, JobStatus, Outcome, StatusCode
from openhtc.domain.exposition import Histogram

SECONDS = ("1", "5", "15", "60", "300", "900", "3600", "14400", "86400", "604800")
"""Upper ends of the intervals of times."""
MEBIBYTES = (16, 64, 256, 1024, 4096, 16384, 65536, 262144)
"""Upper ends of the intervals of memory peaks."""

STATUSES = tuple(code.status for code in StatusCode)
UNFINISHED = tuple(status for status in STATUSES if not status.is_terminal)
RELEASED = tuple(status for status in UNFINISHED if status is not JobStatus.SUBMITTED_TO_RESCALE)
"""The vCPUs of jobs in these count against limits."""
LEASED = (JobStatus.STARTING, JobStatus.RUNNING)
CODES = tuple(FailureCode)
REQUEUED = (
    Outcome.EXITED,
    Outcome.OUT_OF_MEMORY,
    Outcome.DISK_FULL,
    Outcome.CANNOT_START,
    Outcome.HANDED_BACK,
    Outcome.NODE_LOST,
    Outcome.NODE_FAULT,
    Outcome.PREEMPTED,
)
"""Ends of attempts after which a job may go back to the queue."""

MIB = 1024 * 1024
POSITIONS = 67


@dataclass(frozen=True, slots=True)
class Counters:
    jobs: dict[JobStatus, int]
    vcpus: dict[JobStatus, int]
    starts: int
    succeeded: int
    cancelled: int
    failed: dict[FailureCode, int]
    requeued: dict[Outcome, int]
    waits: Histogram
    """Seconds."""
    runs: Histogram
    """Seconds."""
    memory: Histogram
    """Bytes."""

    @property
    def active_vcpus(self) -> int:
        return sum(self.vcpus[status] for status in RELEASED)

    @property
    def leased_vcpus(self) -> int:
        return sum(self.vcpus[status] for status in LEASED)

    @property
    def leases(self) -> int:
        return sum(self.jobs[status] for status in LEASED)


def counters(numbers: Sequence[int]) -> Counters:
    """From the numbers of all positions, in order."""
    rest = iter(numbers)
    found = Counters(
        jobs=dict(zip(STATUSES, _take(rest, len(STATUSES)), strict=True)),
        vcpus=dict(zip(UNFINISHED, _take(rest, len(UNFINISHED)), strict=True)),
        starts=next(rest),
        succeeded=next(rest),
        cancelled=next(rest),
        failed=dict(zip(CODES, _take(rest, len(CODES)), strict=True)),
        requeued=dict(zip(REQUEUED, _take(rest, len(REQUEUED)), strict=True)),
        waits=Histogram(_take(rest, len(SECONDS) + 1), next(rest) / 1e6),
        runs=Histogram(_take(rest, len(SECONDS) + 1), next(rest) / 1e6),
        memory=Histogram(_take(rest, len(MEBIBYTES) + 1), next(rest) * MIB),
    )
    assert next(rest, None) is None, "every position has its meaning"
    return found


def _take(numbers: Iterator[int], count: int) -> list[int]:
    return list(islice(numbers, count))
