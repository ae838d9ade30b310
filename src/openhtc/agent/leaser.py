"""Asks the server for work whenever the node has room for it."""

import threading
import time
from collections.abc import Callable
from random import random

import structlog

from openhtc.agent.counts import Counts
from openhtc.agent.held import HeldJob
from openhtc.agent.local_queue import LocalQueue
from openhtc.agent.prefetch import Wanted
from openhtc.agent.session import Session
from openhtc.agent.wire import RequestInvalid, ServerAway, ServerRefuses
from openhtc.domain.work import LeaseAnswer, LeaseRequest
from openhtc.lifecycle.stopping import Stop

IDLE_WAIT_SECONDS = 10.0
"""How long the server may hold a request of a node that has nothing to do."""
BUSY_WAIT_SECONDS = 1.0
"""A node with jobs is answered at once: a request that the server held would say less and less of the room that
the ends of short jobs make. After an empty answer it asks again when a job has ended, or after this time."""
LEAST_PAUSE = 0.05
"""Between an empty answer and the next request."""
MAX_PAUSE = 5.0
MAX_FAULT_PAUSE = 30.0
LOW_DISK_PAUSE = 5.0

logger = structlog.get_logger(__name__)


class Leaser:
    """One thread, one request in flight."""

    def __init__(
        self,
        session: Session,
        queue: LocalQueue,
        stop: Stop,
        counts: Counts,
        *,
        images: Callable[[], list[str]],
        remaining_seconds: Callable[[], int | None],
        disk_low: Callable[[], bool],
        on_jobs: Callable[[list[HeldJob]], None],
        on_refused: Callable[[ServerRefuses], None],
    ) -> None:
        """on_jobs is also called with jobs that arrive after a stop was requested."""
        self._session, self._queue, self._stop, self._counts = session, queue, stop, counts
        self._images, self._remaining = images, remaining_seconds
        self._disk_low = disk_low
        self._on_jobs, self._on_refused = on_jobs, on_refused
        self._thread = threading.Thread(target=self._run, name="leaser", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self, seconds: float) -> bool:
        """Wait for the request in flight; False when it is still there. What it brings is handed back."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        pause = 0.1
        while not self._stop.requested:
            self._pause_after_faults()
            self._wait_for_disk()
            want = self._queue.wait_wanted(1.0)
            if want is None:
                continue
            try:
                self._lease(want)
                pause = 0.1
            except (ServerAway, RequestInvalid) as error:
                logger.warning("lease_failed", error=str(error))
                self._stop.wait(pause * (0.5 + random()))  # noqa: S311 - jitter
                pause = min(MAX_PAUSE, pause * 2)
            except ServerRefuses as error:
                self._on_refused(error)
                return

    def _pause_after_faults(self) -> None:
        """A node that fails every job must not draw more of them at full speed."""
        faults = self._counts.faults_in_a_row
        if faults:
            self._stop.wait(min(MAX_FAULT_PAUSE, 0.1 * 2 ** min(faults, 10)))

    def _wait_for_disk(self) -> None:
        """Jobs write, images are pulled: a node that is nearly full takes no more until something is freed."""
        while self._disk_low() and not self._stop.wait(LOW_DISK_PAUSE):
            logger.warning("disk_low")

    def _lease(self, want: Wanted) -> None:
        rooms = self._queue.rooms()
        wait_seconds = 0.0 if want.busy else IDLE_WAIT_SECONDS
        request = LeaseRequest(
            free=want.free,
            max_jobs=want.max_jobs,
            wait_seconds=wait_seconds,
            images=self._images(),
            remaining_seconds=self._remaining(),
        )
        began = time.monotonic()
        answer = self._session.post("lease", request, LeaseAnswer, wait_seconds=wait_seconds)
        if answer.jobs:
            self._on_jobs(_held_jobs(answer))
        elif want.busy:
            self._stop.wait(LEAST_PAUSE)
            self._queue.wait_room(rooms, BUSY_WAIT_SECONDS)
        elif time.monotonic() - began < LEAST_PAUSE:
            self._stop.wait(0.5)  # the server does not wait: do not ask it in a tight loop


def _held_jobs(answer: LeaseAnswer) -> list[HeldJob]:
    batches = {work.batch: work for work in answer.batches}
    missing = [job.lease for job in answer.jobs if job.batch not in batches]
    if missing:
        logger.error("lease_without_batch", leases=missing)
    return [HeldJob(job, batches[job.batch]) for job in answer.jobs if job.batch in batches]
