"""The agent's parts together: who tells whom, and in which order they start and stop."""

import os
import time
from collections.abc import Callable
from functools import partial

import structlog

from openhtc.agent.account import Parts
from openhtc.agent.capacity import is_disk_low
from openhtc.agent.counts import Counts
from openhtc.agent.held import TERM_SECONDS, HeldJob, HeldJobs
from openhtc.agent.images.store import ImageStore
from openhtc.agent.journal import Entry
from openhtc.agent.leaser import Leaser
from openhtc.agent.local_queue import LocalQueue
from openhtc.agent.log_store import LogStore
from openhtc.agent.monitor import AgentStatus, Monitor
from openhtc.agent.outbox import Outbox
from openhtc.agent.reporter import Reporter
from openhtc.agent.sandbox.sandbox import Sandbox
from openhtc.agent.session import Session
from openhtc.agent.shipper import Shipper
from openhtc.agent.slots import AnySlots
from openhtc.agent.verdict import stop_reason
from openhtc.agent.wire import ServerRefuses
from openhtc.domain.enums import Outcome
from openhtc.domain.work import Capacity, ReportAnswer
from openhtc.lifecycle.stopping import Stop
from openhtc.settings.agent import AgentSettings

LEASE_END_SECONDS = 1.0
"""How long a stop waits for the lease request in flight."""
KILL_SECONDS = 15.0
"""After the last program was told to end, slots are waited for so long."""
FLUSH_SECONDS = 10.0
"""How long the last log lines and reports may each take."""
HASTY_SECONDS = 2.0
"""The same when a stop was requested twice."""
LEAVE_SECONDS = TERM_SECONDS + FLUSH_SECONDS
"""Planned between the end of the grace of running jobs and the end of the node's life."""
NO_STOCK_SECONDS = 60.0
"""No stock is asked for so long after a job came that is larger than the node."""
OUTPUT_MEMORY = 64 * 1024 * 1024
"""Bytes of unshipped lines of running jobs, shared by all slots."""

logger = structlog.get_logger(__name__)


class Agent:
    def __init__(
        self,
        *,
        settings: AgentSettings,
        capacity: Capacity,
        session: Session,
        sandbox: Sandbox,
        images: ImageStore,
        slots: Callable[[LocalQueue, Parts, int], AnySlots],
        outbox: Outbox,
        stop: Stop,
    ) -> None:
        """``slots`` makes what runs jobs: of a queue, the other parts, the bytes of a job's output that may wait."""
        self._settings, self._capacity, self._session = settings, capacity, session
        self._sandbox, self._outbox, self._stop = sandbox, outbox, stop
        self._born = time.monotonic()
        self._refusal: ServerRefuses | None = None
        self._counts = Counts()
        self._held = HeldJobs()
        self._queue = LocalQueue(capacity, slots=capacity.vcpus)
        self._shipper = Shipper(LogStore(session), outbox, self._counts)
        watch_disk, max_log_bytes = not sandbox.disk_enforced, settings.max_log_gib << 30
        parts = Parts(images, self._shipper, outbox, self._counts, watch_disk, max_log_bytes)
        max_cost = min(4 << 20, max(256 << 10, OUTPUT_MEMORY // capacity.vcpus))
        self._slots = slots(self._queue, parts, max_cost)
        self._reporter = Reporter(session, outbox, self._held, self._obey, self._refused)
        self._leaser = Leaser(
            session,
            self._queue,
            stop,
            self._counts,
            images=images.digests,
            remaining_seconds=self._remaining_seconds,
            disk_low=partial(is_disk_low, settings),
            on_jobs=self._accept,
            on_refused=self._refused,
        )
        self._monitor = Monitor(
            self._queue,
            self._held,
            outbox,
            self._counts,
            status=self._status,
            status_file=settings.status_file,
            hand_back=self._hand_back,
        )

    def run(self) -> None:
        """Work until a stop is requested or the node's life ends. Raises ServerRefuses."""
        self._shipper.start()
        self._reporter.start()
        self._monitor.start()
        self._leaser.start()
        remaining = self._remaining_seconds()
        if not self._stop.wait(remaining):
            logger.info("lifetime_over", lifetime_seconds=self._settings.lifetime_seconds)
            self._stop.request()
        self._leave()
        if self._refusal is not None:
            raise self._refusal

    def _leave(self) -> None:
        """No new work; hand back; let run; stop; then lines, then news, and the heartbeat last."""
        logger.info("stopping", held=len(self._held))
        self._reporter.stopping = True
        self._reporter.heartbeat_soon()
        self._hand_back(self._queue.close())
        self._wait_for_running(self._settings.stop_grace_seconds)
        self._end_running()
        self._leaser.join(LEASE_END_SECONDS)
        self._flush(self._shipper)
        self._slots.close()
        self._flush(self._reporter)
        self._monitor.close()
        logger.info("stopped", unreported=len(self._outbox))

    def _flush(self, part: Shipper | Reporter) -> None:
        """Give the part its time to finish; less when a stop is requested again meanwhile."""
        hasty = self._stop.at_once
        part.end_within(HASTY_SECONDS if hasty else FLUSH_SECONDS)
        until = time.monotonic() + FLUSH_SECONDS + HASTY_SECONDS
        while not part.join(0.1) and time.monotonic() < until:
            if self._stop.at_once and not hasty:
                hasty = True
                part.end_within(HASTY_SECONDS)
                until = time.monotonic() + 2 * HASTY_SECONDS

    def _wait_for_running(self, seconds: float) -> None:
        """Until nothing runs, or for so long; while we only drain, as long as the node lives."""
        until: float | None = None
        while not self._stop.at_once:
            if until is None and (not self._stop.patient or self._remaining_seconds() == 0):
                until = time.monotonic() + seconds
            left = 0.2 if until is None else until - time.monotonic()
            if left <= 0 or self._queue.wait_idle(min(left, 0.2)):
                return

    def _end_running(self) -> None:
        """TERM, then KILL; KILL at once when a stop is requested again meanwhile."""
        for job in self._queue.running():
            job.stop(Outcome.HANDED_BACK)
        until = time.monotonic() + KILL_SECONDS
        while not self._slots.join(0.2):
            if self._stop.at_once:
                for job in self._queue.running():
                    job.stop(Outcome.HANDED_BACK, grace=0.0)
            if time.monotonic() >= until:
                self._abandon_running()
                return

    def _abandon_running(self) -> None:
        """What does not end now, for instance while it waits for its image, ends with this process."""
        stuck = [job for job in self._queue.running() if not job.told]
        logger.error("slots_not_ended", leases=[job.lease.lease for job in stuck])
        if stuck:
            self._end_unstarted(stuck, Outcome.HANDED_BACK, "the node is leaving")

    def _accept(self, jobs: list[HeldJob]) -> None:
        self._held.add(jobs)
        too_big = [job for job in jobs if not self._queue.can_ever_take(job)]
        if too_big:
            # What was asked for in stock was taken for room for one large job.
            logger.warning("job_too_big", leases=[job.lease.lease for job in too_big])
            self._queue.stop_stocking(NO_STOCK_SECONDS)
            self._end_unstarted(too_big, Outcome.HANDED_BACK, "the job needs more than this node has")
        fitting = [job for job in jobs if job not in too_big]
        if self._queue.put(fitting):
            self._slots.grow()
        else:
            self._hand_back(fitting)

    def _hand_back(self, jobs: list[HeldJob]) -> None:
        """Jobs that did not begin here."""
        if jobs:
            self._end_unstarted(jobs, Outcome.HANDED_BACK, "not started on this node")

    def _end_unstarted(self, jobs: list[HeldJob], outcome: Outcome, reason: str) -> None:
        for _ in jobs:
            self._counts.ended(outcome)
        self._outbox.put([Entry(end=job.ended(outcome, reason)) for job in jobs])

    def _obey(self, answer: ReportAnswer) -> None:
        for lease in answer.stop:
            self._stop_job(lease, Outcome.CANCELLED)
        for lease in answer.preempt:
            self._stop_job(lease, Outcome.PREEMPTED)
        for lease in answer.gone:
            self._forget(lease)

    def _stop_job(self, lease: int, cause: Outcome) -> None:
        job = self._held.get(lease)
        if job is None:
            return
        if self._queue.remove(job):
            self._end_unstarted([job], cause, stop_reason(job.work, cause) or cause.value)
        elif job.cause is None:
            job.stop(cause)

    def _forget(self, lease: int) -> None:
        job = self._held.get(lease)
        if job is None:
            return
        logger.warning("lease_gone", lease=lease)
        self._held.remove(lease)
        self._outbox.forget_start(lease)
        if not self._queue.remove(job):
            job.forget()

    def _refused(self, refusal: ServerRefuses) -> None:
        """The server does not want this agent: nothing that runs here counts any more."""
        self._refusal = self._refusal or refusal
        logger.error("server_refuses", error=str(refusal))
        self._stop.request()
        self._stop.request()

    def _remaining_seconds(self) -> int | None:
        """Until this agent should begin to stop; None when its life is not limited."""
        life = self._settings.lifetime_seconds
        if life is None:
            return None
        begin = life - self._settings.stop_grace_seconds - LEAVE_SECONDS
        return max(0, int(begin - (time.monotonic() - self._born)))

    def _status(self) -> AgentStatus:
        load = self._queue.load()
        return AgentStatus(
            pid=os.getpid(),
            agent=self._session.current.agent,
            name=self._settings.node_name,
            server_url=self._settings.server_url,
            written_at=time.time_ns() // 1000,
            stopping=self._stop.requested,
            capacity=self._capacity,
            used=load.running,
            running=load.running_jobs,
            waiting=load.queued_jobs,
            unreported=len(self._outbox),
            limits_missing=self._sandbox.missing,
            counts=self._counts.summary(),
        )
