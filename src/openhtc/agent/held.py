"""The jobs that this agent holds a lease for, from the answer that brought them to the acknowledged end."""

import signal
import threading
import time
from collections.abc import Iterable

from openhtc.agent.runtimes.base import Stoppable
from openhtc.domain.enums import Outcome
from openhtc.domain.work import BatchWork, JobLease, JobReport

TERM_SECONDS = 5.0
"""Between SIGTERM and SIGKILL."""


class HeldJob:
    """One lease and, while it runs, its container. Thread-safe: anyone may ask it to stop."""

    def __init__(self, lease: JobLease, work: BatchWork) -> None:
        self.lease = lease
        self.work = work
        self.taken_at = time.monotonic()
        self.began_at: float | None = None
        """Monotonic time at which a slot took it."""
        self.told = False
        """Its end was handed over."""
        self.stopped = threading.Event()
        """Set when it was asked to stop."""
        self._lock = threading.Lock()
        self._container: Stoppable | None = None
        self._cause: Outcome | None = None
        self._kill_at: float | None = None
        self._gone = False

    @property
    def cause(self) -> Outcome | None:
        """As what it was asked to stop; the first request counts."""
        return self._cause

    @property
    def gone(self) -> bool:
        """The lease is not valid any more: nobody wants to hear how it ends."""
        return self._gone

    def stop(self, cause: Outcome, grace: float = TERM_SECONDS) -> None:
        """Ask the program to end; after ``grace`` seconds it is killed. A repetition can only shorten that."""
        with self._lock:
            self._cause = self._cause or cause
            self.stopped.set()
            kill_at = time.monotonic() + grace
            self._kill_at = kill_at if self._kill_at is None else min(kill_at, self._kill_at)
            if self._container is not None:
                self._tell(self._container, grace)

    def forget(self) -> None:
        """The lease is gone: kill the program, report nothing."""
        self._gone = True
        self.stop(Outcome.CANCELLED, grace=0.0)

    def attach(self, container: Stoppable) -> None:
        """The container runs. A stop that was asked for before is passed on."""
        with self._lock:
            self._container = container
            if self._kill_at is not None:
                self._tell(container, self._kill_at - time.monotonic())

    def detach(self) -> None:
        with self._lock:
            self._container = None

    def kill_if_due(self) -> None:
        with self._lock:
            if (
                self._container is not None
                and self._kill_at is not None
                and time.monotonic() >= self._kill_at
            ):
                self._container.kill()

    def seconds_to_kill(self) -> float | None:
        kill_at = self._kill_at
        return None if kill_at is None else max(0.0, kill_at - time.monotonic())

    def ended(self, outcome: Outcome, reason: str) -> JobReport:
        """The report of an end without a start."""
        return JobReport(
            lease=self.lease.lease,
            batch=self.lease.batch,
            index=self.lease.index,
            ended_at=time.time_ns() // 1000,
            outcome=outcome,
            reason=reason,
        )

    def _tell(self, container: Stoppable, grace: float) -> None:
        if grace <= 0:
            container.kill()
        else:
            container.signal(signal.SIGTERM)


class HeldJobs:
    """All of them by lease. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: dict[int, HeldJob] = {}

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, jobs: Iterable[HeldJob]) -> None:
        with self._lock:
            self._jobs.update((job.lease.lease, job) for job in jobs)

    def get(self, lease: int) -> HeldJob | None:
        with self._lock:
            return self._jobs.get(lease)

    def remove(self, lease: int) -> None:
        with self._lock:
            self._jobs.pop(lease, None)

    def leases(self) -> list[int]:
        with self._lock:
            return list(self._jobs)
