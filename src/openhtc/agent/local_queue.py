"""The jobs that wait on this node, and what the running ones take of it."""

import threading
import time
from collections import deque

from openhtc.agent.capacity import NOTHING, fits, minus, plus
from openhtc.agent.held import HeldJob
from openhtc.agent.prefetch import JobSeconds, Load, Wanted, wanted
from openhtc.domain.work import Capacity

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
        self._typical = _DEFAULT_NEEDS
        self._seconds = JobSeconds()
        self._closed = False
        self._rooms = 0
        self._no_stock_until = 0.0

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
            if jobs:
                self._typical = jobs[-1].work.needs
            self._work.notify(len(jobs))
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
            self._note_change()
            return True

    def remove_older_than(self, seconds: float) -> list[HeldJob]:
        """Take out the jobs that have waited longer than ``seconds``."""
        limit = time.monotonic() - seconds
        with self._changed:
            old = [job for job in self._waiting if job.taken_at < limit]
            self._waiting = deque(job for job in self._waiting if job.taken_at >= limit)
            if old:
                self._note_change()
        return old

    def close(self) -> list[HeldJob]:
        """No job is given out any more; the ones that waited."""
        with self._changed:
            self._closed = True
            waiting, self._waiting = list(self._waiting), deque()
            self._work.notify_all()
            self._changed.notify_all()
        return waiting

    def running(self) -> list[HeldJob]:
        with self._changed:
            return list(self._running)

    def load(self) -> Load:
        with self._changed:
            return self._load()

    def wait_wanted(self, seconds: float) -> Wanted | None:
        """What to ask the server for, as soon as there is need of it; None after ``seconds`` without."""
        with self._changed:
            return self._changed.wait_for(lambda: None if self._closed else wanted(self._load()), seconds)

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
        self._changed.notify_all()
        return job

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
        queued = NOTHING
        for job in self._waiting:
            queued = plus(queued, job.work.needs)
        return Load(
            capacity=self._capacity,
            running=self._used,
            queued=queued,
            running_jobs=len(self._running),
            queued_jobs=len(self._waiting),
            typical=self._typical,
            job_seconds=self._job_seconds(now),
            slots=self._slots,
        )
