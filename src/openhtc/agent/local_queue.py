"""The jobs that wait on this node, and what the running ones take of it."""

import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import takewhile

from openhtc.agent.capacity import NOTHING, fits, minus, plus
from openhtc.agent.held import HeldJob
from openhtc.agent.prefetch import JobSeconds, Load, Wanted, stock, wanted
from openhtc.domain.work import BatchWork, Capacity

LINE_SECONDS = 0.02
"""What is lined up in a slot should end within about this time."""
LONGEST_LINED_UP_SECONDS = 0.2
"""One job at least is lined up behind one that is this short."""
MAX_LINED_UP = 8
_DEFAULT_NEEDS = Capacity(vcpus=1, memory_mib=256, disk_gib=0)


class LocalQueue:
    """First in, first out; the first job waits until it fits. Thread-safe.

    Bounded by what is asked of the server: see prefetch.
    """

    def __init__(self, capacity: Capacity, slots: int) -> None:
        self._capacity = capacity
        self._slots = slots
        lock = threading.Lock()
        self._work = threading.Condition(lock)
        """For slots that wait for a job that fits."""
        self._changed = threading.Condition(lock)
        """For those who watch the node."""
        self._waiting: deque[HeldJob] = deque()
        self._running: set[HeldJob] = set()
        self._used = NOTHING
        self._queued = NOTHING
        """What the jobs that have not begun will take."""
        self._target = 0
        """How many jobs should wait here, as was found when that was last asked."""
        self._typical = _DEFAULT_NEEDS
        self._seconds = JobSeconds()
        self._closed = False
        self._rooms = 0
        self._no_stock_until = 0.0
        self._lined_up: set[HeldJob] = set()
        self._watcher: Callable[[], None] = _nobody

    def stop_stocking(self, seconds: float) -> None:
        """For so long ask only for what can begin at once."""
        with self._changed:
            self._no_stock_until = time.monotonic() + seconds

    def put(self, jobs: list[HeldJob]) -> bool:
        """Queue the jobs; False, and nothing is done, when the queue was closed."""
        with self._changed:
            if self._closed:
                return False
            self._waiting.extend(jobs)
            for job in jobs:
                self._queued = plus(self._queued, job.work.needs)
            if jobs:
                self._typical = jobs[-1].work.needs
            self._work.notify(len(jobs))
        self._watcher()
        return True

    def can_ever_take(self, job: HeldJob) -> bool:
        """The job would fit if nothing else ran."""
        return fits(job.work.needs, self._capacity)

    def take(self) -> HeldJob | None:
        """The next job, as soon as it fits; None when the queue was closed. Pair with ``done``."""
        with self._changed:
            while not self._closed:
                if self._waiting and fits(self._waiting[0].work.needs, minus(self._capacity, self._used)):
                    return self._begin(self._waiting.popleft())
                self._work.wait()
            return None

    def take_now(self) -> HeldJob | None:
        """The next job if it fits; None otherwise. Pair with ``done`` or ``replace``."""
        with self._changed:
            if self._closed or not self._waiting:
                return None
            if not fits(self._waiting[0].work.needs, minus(self._capacity, self._used)):
                return None
            return self._begin(self._waiting.popleft())

    def line_up(self, behind: HeldJob) -> HeldJob | None:
        """The next job if it can take the place of one that runs, as soon as that ends: it needs the same.

        Pair with ``replace``, or ``leave_line``.
        """
        with self._changed:
            if self._closed or not self._waiting or not _are_alike(self._waiting[0].work, behind.work):
                return None
            job = self._waiting.popleft()
            self._lined_up.add(job)
            return job

    def requeue(self, job: HeldJob) -> bool:
        """A job that has left the line without having begun waits again, before all that came after it.

        False when the queue was closed.
        """
        with self._changed:
            if self._closed:
                return False
            before = sum(1 for _ in takewhile(lambda one: one.taken_at < job.taken_at, self._waiting))
            self._waiting.insert(before, job)
            self._queued = plus(self._queued, job.work.needs)
            self._work.notify()
            return True

    def lined_up_per_slot(self) -> int:
        """How many jobs should be lined up behind one that runs: as many as end soon, one at least of short ones."""
        with self._changed:
            seconds = self._seconds.average
        if seconds is None or seconds > LONGEST_LINED_UP_SECONDS:
            return 0
        return max(1, min(MAX_LINED_UP, int(LINE_SECONDS / max(seconds, 0.001))))

    def replace(self, job: HeldJob, successor: HeldJob) -> None:
        """One job is done, and the one that was lined up behind it has begun."""
        with self._changed:
            self._lined_up.discard(successor)
            self._running.discard(job)
            now = time.monotonic()
            self._seconds.ended(now - (job.began_at or job.taken_at))
            successor.began_at = now
            self._running.add(successor)
            self._queued = minus(self._queued, successor.work.needs)
            if self._is_hungry():
                self._changed.notify_all()

    def leave_line(self, job: HeldJob) -> None:
        """A job that was lined up does not begin there."""
        with self._changed:
            self._lined_up.discard(job)
            self._queued = minus(self._queued, job.work.needs)
            self._note_change()

    def watch(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called whenever a job may have become ready to begin, or the queue was closed."""
        self._watcher = callback

    def done(self, job: HeldJob) -> None:
        with self._changed:
            self._running.discard(job)
            self._used = minus(self._used, job.work.needs)
            self._seconds.ended(time.monotonic() - (job.began_at or job.taken_at))
            self._note_change()

    def remove(self, job: HeldJob) -> bool:
        """Take a job out that still waits; False when it does not."""
        with self._changed:
            if job not in self._waiting:
                return False
            self._waiting.remove(job)
            self._queued = minus(self._queued, job.work.needs)
            self._note_change()
        self._watcher()
        return True

    def remove_older_than(self, seconds: float) -> list[HeldJob]:
        """Take out the jobs that have waited longer than ``seconds``."""
        limit = time.monotonic() - seconds
        with self._changed:
            old = [job for job in self._waiting if job.taken_at < limit]
            self._waiting = deque(job for job in self._waiting if job.taken_at >= limit)
            for job in old:
                self._queued = minus(self._queued, job.work.needs)
            if old:
                self._note_change()
        return old

    def close(self) -> list[HeldJob]:
        """No job is given out any more; the ones that waited."""
        with self._changed:
            self._closed = True
            waiting, self._waiting = list(self._waiting), deque()
            for job in waiting:
                self._queued = minus(self._queued, job.work.needs)
            self._work.notify_all()
            self._changed.notify_all()
        self._watcher()
        return waiting

    @property
    def is_closed(self) -> bool:
        return self._closed

    def running(self) -> list[HeldJob]:
        with self._changed:
            return list(self._running)

    def load(self) -> Load:
        with self._changed:
            return self._load()

    def wait_wanted(self, seconds: float) -> Wanted | None:
        """What to ask the server for, as soon as there is need of it; None after ``seconds`` without."""
        with self._changed:
            return self._changed.wait_for(self._wanted, seconds)

    def rooms(self) -> int:
        """How often room was made so far."""
        with self._changed:
            return self._rooms

    def wait_room(self, before: int, seconds: float) -> None:
        """Sleep until room was made more often than ``before`` times, at most ``seconds``."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._rooms != before, seconds)

    def wait_idle(self, seconds: float) -> bool:
        """Sleep until nothing runs, at most ``seconds``; says whether nothing runs."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._running, seconds)

    def _begin(self, job: HeldJob) -> HeldJob:
        job.began_at = time.monotonic()
        self._running.add(job)
        self._used = plus(self._used, job.work.needs)
        self._queued = minus(self._queued, job.work.needs)
        if self._is_hungry():
            self._changed.notify_all()
        return job

    def _wanted(self) -> Wanted | None:
        if self._closed:
            return None
        load = self._load()
        self._target = stock(load)
        return wanted(load)

    def _is_hungry(self) -> bool:
        """A quick look whether wanted() may say something: whoever waits for that is not woken by every job."""
        queued = len(self._waiting) + len(self._lined_up)
        return queued * 2 <= self._target or len(self._running) + queued < self._slots

    def _note_change(self) -> None:
        """Something made room: the first waiting job may fit now."""
        self._rooms += 1
        self._changed.notify_all()
        if self._waiting:
            self._work.notify_all()

    def _job_seconds(self, now: float) -> float | None:
        if now < self._no_stock_until:
            return None
        return self._seconds.estimate([now - (job.began_at or now) for job in self._running])

    def _load(self) -> Load:
        now = time.monotonic()
        return Load(
            capacity=self._capacity,
            running=self._used,
            queued=self._queued,
            running_jobs=len(self._running),
            queued_jobs=len(self._waiting) + len(self._lined_up),
            typical=self._typical,
            job_seconds=self._job_seconds(now),
            slots=self._slots,
        )


def _are_alike(one: BatchWork, other: BatchWork) -> bool:
    return one.needs == other.needs and one.image.digest == other.image.digest


def _nobody() -> None:
    return
