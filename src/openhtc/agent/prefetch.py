"""How much work to ask for: enough that short jobs run back to back, never long jobs in stock."""

from dataclasses import dataclass
from statistics import median_low

from openhtc.agent.capacity import NOTHING, at_least_nothing, minus, plus, times
from openhtc.domain.work import Capacity

AHEAD_SECONDS = 1.0
"""Work that waits here should take about this long."""
LONGEST_STOCKED_SECONDS = 3.0
"""Of jobs up to this long one waits for each slot; of longer ones none: another node might run it sooner."""
MAX_AHEAD_PER_SLOT = 256
MAX_JOBS_PER_LEASE = 500


@dataclass(frozen=True, slots=True)
class Load:
    """What a node is doing at one moment."""

    capacity: Capacity
    running: Capacity
    """What the running jobs take together."""
    queued: Capacity
    """What the jobs that wait here will take together."""
    running_jobs: int
    queued_jobs: int
    typical: Capacity
    """What a recent job took."""
    job_seconds: float | None
    """How long a job lasts lately; None while nobody knows."""
    slots: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to ask the server for. ``ahead`` says how many of the jobs would have to wait here."""

    free: Capacity
    max_jobs: int
    ahead: int
    busy: bool
    """The node has jobs, and how much it wants changes with each that ends."""


def wanted(load: Load) -> Wanted | None:
    """The next lease request; None while there is enough work here."""
    idle_slots = max(0, load.slots - load.running_jobs - load.queued_jobs)
    unused = minus(minus(load.capacity, load.running), load.queued)
    can_start = idle_slots if unused.vcpus > 0 and unused.memory_mib > 0 else 0
    target = stock(load)
    ahead = target - load.queued_jobs if load.queued_jobs * 2 <= target else 0
    if can_start == 0 and ahead <= 0:
        return None
    ahead = max(0, ahead)
    free = plus(at_least_nothing(unused) if can_start else NOTHING, times(load.typical, ahead))
    busy = load.running_jobs + load.queued_jobs > 0
    return Wanted(free=free, max_jobs=min(MAX_JOBS_PER_LEASE, can_start + ahead), ahead=ahead, busy=busy)


def stock(load: Load) -> int:
    """How many jobs should wait here so that no slot idles for a round trip to the server."""
    if load.job_seconds is None or load.job_seconds > LONGEST_STOCKED_SECONDS:
        return 0
    in_time = AHEAD_SECONDS / max(load.job_seconds, 0.001)
    return int(load.running_jobs * min(max(1.0, in_time), MAX_AHEAD_PER_SLOT))


class JobSeconds:
    """A moving average of how long jobs last, corrected by jobs that already run longer."""

    def __init__(self) -> None:
        self._average: float | None = None

    @property
    def average(self) -> float | None:
        return self._average

    def ended(self, seconds: float) -> None:
        self._average = seconds if self._average is None else self._average * 0.9 + seconds * 0.1

    def estimate(self, running_ages: list[float]) -> float | None:
        """Seconds; at least the median age of the running jobs: a change to long jobs shows at once, one long job not.

        Of two ages in the middle the lower one: one long job on two slots leaves the other its short ones.
        """
        if self._average is None:
            return None
        return max(self._average, median_low(running_ages)) if running_ages else self._average
