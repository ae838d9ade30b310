"""Reading jobs: one, many, their events, their counts; and cancelling them."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from openhtc.domain.enums import JobStatus, StatusCode
from openhtc.domain.errors import InvalidRequest, NotFound
from openhtc.domain.events import AttemptTimes, Event, derive
from openhtc.domain.identity import Caller
from openhtc.domain.ids import JobId, parse_job_id
from openhtc.domain.permissions import Operation, may, permit
from openhtc.domain.validation import check_group
from openhtc.domain.work import Small
from openhtc.services.access import own_task
from openhtc.services.cancelling import Cancelling
from openhtc.services.clock import Clock
from openhtc.services.pages import Offset, Page, clamp, cut, decode_cursor
from openhtc.services.waiting import WaitingReasons
from openhtc.storage import jobs, leasing
from openhtc.storage.database import Connection, Database
from openhtc.storage.jobs import Attempt, Counts, Job, JobFilter

MAX_PAGE = 1000
_MAX_JOB_IDS = 1000


@dataclass(frozen=True, slots=True)
class Wanted:
    """What narrows a listing of jobs."""

    group: str | None = None
    status: JobStatus | None = None
    job_ids: Sequence[str] | None = None


async def job_for(connection: Connection, caller: Caller, project_id: str, task_id: str, job_id: str) -> Job:
    """Raises NotFound for anything that is not the id of a job of this task."""
    task = await own_task(connection, caller, project_id, task_id)
    parsed = parse_job_id(job_id)
    found = None if parsed is None else await jobs.find_job(connection, task.id, parsed)
    if found is None:
        raise NotFound(f"there is no job {job_id!r} in task {task_id}")
    return found


class Jobs:
    def __init__(
        self, database: Database, cancelling: Cancelling, clock: Clock, *, strict_architecture: bool = False
    ) -> None:
        self._database = database
        self._cancelling = cancelling
        self._clock = clock
        self._waiting = WaitingReasons(clock, strict_architecture=strict_architecture)

    async def get(self, caller: Caller, project_id: str, task_id: str, job_id: str) -> Job:
        async with self._database.connection() as connection:
            job = await job_for(connection, caller, project_id, task_id, job_id)
            return (await self._waiting.explain(connection, [job]))[0]

    async def page(
        self,
        caller: Caller,
        project_id: str,
        task_id: str,
        wanted: Wanted,
        cursor: str | None,
        page_size: int,
    ) -> Page[Job]:
        size = clamp(page_size, MAX_PAGE)
        after = decode_cursor(cursor, tuple[Offset, Small], (0, -1))
        check_group(wanted.group or "")
        narrow = _narrow(wanted)
        async with self._database.connection() as connection:
            task = await own_task(connection, caller, project_id, task_id)
            if narrow is None:
                return Page([], None)
            found = await jobs.page_jobs(connection, task.id, after, narrow, size + 1)
            found = await self._waiting.explain(connection, found)
        return cut(found, size, lambda job: (job.batch_no, job.idx))

    async def events(
        self, caller: Caller, project_id: str, task_id: str, job_id: str, cursor: str | None, page_size: int
    ) -> tuple[Job, Page[tuple[int, Event]]]:
        """Events with their ordinal numbers, oldest first."""
        size = clamp(page_size, MAX_PAGE)
        first = decode_cursor(cursor, Offset, 0)
        async with self._database.connection() as connection:
            job = await job_for(connection, caller, project_id, task_id, job_id)
            permit(caller, Operation.READ_HISTORY, job.batch.created_by)
            former = await jobs.list_attempts(connection, job.batch_no, job.idx)
        numbered = list(enumerate(_history(job, former)))[first:]
        return job, cut(numbered, size, lambda item: item[0] + 1)

    async def counts(self, caller: Caller, project_id: str, task_id: str) -> Counts:
        async with self._database.connection() as connection:
            task = await own_task(connection, caller, project_id, task_id)
            return await jobs.count_task(connection, task.id)

    async def groups(
        self,
        caller: Caller,
        project_id: str,
        task_id: str,
        labels: Sequence[str] | None,
        cursor: str | None,
        page_size: int,
    ) -> Page[tuple[str, Counts]]:
        """Each group with its counts, in order of the label."""
        size = clamp(page_size, MAX_PAGE)
        after = decode_cursor(cursor, str, "")
        for label in (after, *(labels or ())):
            check_group(label)
        async with self._database.connection() as connection:
            task = await own_task(connection, caller, project_id, task_id)
            found = await jobs.count_by_group(connection, task.id, after, labels, size + 1)
        return cut(found, size, lambda item: item[0])

    async def cancel(self, caller: Caller, project_id: str, task_id: str, group: str | None) -> None:
        """Cancel unfinished jobs; a member who is no administrator reaches only the own ones.

        None of them starts any more, and most have ended when this returns; of very many the rest ends in seconds.
        """
        check_group(group or "")

        async def work(connection: Connection) -> UUID:
            task = await own_task(connection, caller, project_id, task_id)
            everybodys = may(caller, Operation.CANCEL_JOBS)
            owns_jobs = caller.job is None and await jobs.owns_batch(connection, task.id, caller.user.id)
            if not everybodys and not owns_jobs:
                permit(caller, Operation.CANCEL_JOBS, task.created_by)
            owner = None if everybodys else caller.user.id
            await self._cancelling.mark(connection, task.id, group, owner)
            await leasing.touch_tasks(connection, [task.id], self._clock())
            return task.id

        await self._cancelling.begin(await self._database.run(work))


def _narrow(wanted: Wanted) -> JobFilter | None:
    """None when nothing can match."""
    status: StatusCode | None = None
    if wanted.status is not None:
        if wanted.status.name not in StatusCode.__members__:
            return None
        status = StatusCode[wanted.status.name]
    if wanted.job_ids is None:
        return JobFilter(wanted.group, status, None)
    if len(wanted.job_ids) > _MAX_JOB_IDS:
        raise InvalidRequest(f"jobId: {len(wanted.job_ids)} ids, at most {_MAX_JOB_IDS} are allowed")
    known: list[JobId] = [job for job in map(parse_job_id, wanted.job_ids) if job is not None]
    return JobFilter(wanted.group, status, known) if known else None


def _history(job: Job, former: list[Attempt]) -> list[Event]:
    times = [
        AttemptTimes(a.queued_at, a.leased_at, a.started_at, a.ended_at, a.reason, a.exit_code)
        for a in former
    ]
    current = AttemptTimes(
        job.queued_at, job.leased_at, job.started_at, job.ended_at, job.reason, job.exit_code, job.node
    )
    final = job.job_status if job.job_status.is_terminal else None
    cancelled = final is JobStatus.FAILED and job.cancelled_at is not None and job.failure is None
    return derive(job.batch.created_at, [*times, current], final, cancelled)
