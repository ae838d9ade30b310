"""Collects what a transaction does to leased jobs, and applies it at once."""

from datetime import datetime, timedelta
from uuid import UUID

from openhtc.domain.attempts import Verdict, judge
from openhtc.domain.enums import Outcome, StatusCode
from openhtc.domain.work import JobReport, Usage
from openhtc.services.clock import from_micros, micros
from openhtc.storage import leasing
from openhtc.storage.database import Connection
from openhtc.storage.leasing import LeasedJob
from openhtc.storage.transitions import Transition, apply

_MAX_REASON = 1024


class Changes:
    """At most one change for each job. One statement moves them all: two would lock counters in no fixed order."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._transitions: list[Transition] = []
        self._ended_tasks: set[UUID] = set()
        self.concluded: set[int] = set()
        """Leases that these changes end."""
        self.started: set[int] = set()

    def start(self, job: LeasedJob, report: JobReport) -> None:
        """The attempt runs; nothing to do when that is known already."""
        if job.status != StatusCode.STARTING or report.started_at is None:
            return
        self.started.add(job.lease)
        self._transitions.append(
            Transition(
                batch_no=job.batch_no,
                idx=job.idx,
                status=StatusCode.RUNNING,
                started_at=self._started(job, report),
                failures=job.failures,
                losses=job.losses,
            )
        )

    def conclude(self, job: LeasedJob, report: JobReport) -> None:
        """The attempt is over; the verdict on it says where the job goes."""
        assert report.outcome is not None
        verdict = judge(
            report.outcome,
            report.exit_code,
            None if report.reason is None else report.reason.replace("\0", "")[:_MAX_REASON],
            cancelled=job.cancelled_at is not None,
            failures=job.failures,
            losses=job.losses,
            max_retries=job.max_retries,
        )
        started = self._started(job, report)
        ended = _between(started or job.leased_at, from_micros(report.ended_at or 0), self._now)
        self._transitions.append(_end(job, report, verdict, started, ended, self._now))
        self._ended_tasks.add(job.task_id)
        self.concluded.add(job.lease)

    def lose(self, job: LeasedJob, reason: str) -> None:
        """Nobody knows how the attempt ended."""
        self.conclude(job, self._said_by_us(job, Outcome.NODE_LOST, reason))

    def take_back(self, job: LeasedJob) -> None:
        """The agent does not know of the attempt. Before its start that costs nothing: the grant got lost."""
        outcome = Outcome.HANDED_BACK if job.status == StatusCode.STARTING else Outcome.NODE_LOST
        self.conclude(job, self._said_by_us(job, outcome, "the agent does not know of this attempt"))

    async def apply(self, connection: Connection) -> None:
        await apply(connection, self._transitions)
        if self._ended_tasks:
            await leasing.touch_tasks(connection, sorted(self._ended_tasks), self._now)

    def _said_by_us(self, job: LeasedJob, outcome: Outcome, reason: str) -> JobReport:
        now = micros(self._now)
        return JobReport(job.lease, job.batch_no, job.idx, ended_at=now, outcome=outcome, reason=reason)

    def _started(self, job: LeasedJob, report: JobReport) -> datetime | None:
        if job.started_at is not None:
            return job.started_at
        if report.started_at is None:
            return None
        return _between(job.leased_at, from_micros(report.started_at), self._now)


def _between(earliest: datetime, reported: datetime, now: datetime) -> datetime:
    """An agent's clock may be off: what it says is moved to where it can have been."""
    return max(earliest, min(reported, now))


def _end(
    job: LeasedJob,
    report: JobReport,
    verdict: Verdict,
    started: datetime | None,
    ended: datetime,
    now: datetime,
) -> Transition:
    status = StatusCode.SUCCEEDED if verdict.succeeded else StatusCode.FAILED
    usage = report.usage or Usage()
    return Transition(
        batch_no=job.batch_no,
        idx=job.idx,
        status=StatusCode.RUNNABLE if verdict.requeue else status,
        started_at=started,
        ended_at=ended,
        outcome=report.outcome,
        exit_code=report.exit_code,
        failure=verdict.failure,
        reason=verdict.reason,
        cpu_ms=usage.cpu_ms,
        max_memory_mib=usage.max_memory_mib,
        failures=verdict.failures,
        losses=verdict.losses,
        rests_until=now + timedelta(seconds=verdict.rest_seconds) if verdict.rest_seconds else None,
    )
