"""Batches and jobs as users see them: submission, reading, counting."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from openhtc.domain.enums import JobStatus, StatusCode
from openhtc.domain.ids import JobId
from openhtc.storage.database import Connection
from openhtc.storage.queries import load

_SQL = load("jobs")

Counts = dict[JobStatus, int]


@dataclass(frozen=True, slots=True)
class NewBatch:
    id: UUID
    task_id: UUID
    project_id: UUID
    workspace_id: str
    group_label: str
    created_by: str
    created_at: datetime
    size: int
    request: dict[str, Any]
    """The submitted element as JSON, defaults filled in: what answers repeat."""
    region: str
    priority: int
    architecture: str | None
    repository: str
    digest: str
    vcpus: int
    memory_mib: int
    disk_gib: int
    exec_timeout_seconds: int
    max_retries: int
    purge_at: datetime
    """When the first of its jobs can be old enough to be removed."""


@dataclass(frozen=True, slots=True)
class Job:
    """One job with what it shares with its batch. Times are those of the current attempt."""

    batch_no: int
    parent: UUID
    task_id: UUID
    project_id: UUID
    group_label: str
    created_by: str
    created_at: datetime
    request: dict[str, Any]
    region: str
    vcpus: int
    memory_mib: int
    disk_gib: int
    exec_timeout_seconds: int
    workspace_id: str
    idx: int
    status: int
    attempt: int
    failures: int
    exit_code: int | None
    queued_at: datetime | None
    leased_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    cancelled_at: datetime | None
    failure: str | None
    reason: str | None
    agent_no: int | None
    node: str | None
    node_architecture: str | None

    @property
    def job_id(self) -> JobId:
        return JobId(self.parent, self.idx)

    @property
    def job_status(self) -> JobStatus:
        return StatusCode(self.status).status

    @property
    def updated_at(self) -> datetime:
        times = (self.ended_at, self.started_at, self.leased_at, self.queued_at)
        return next((time for time in times if time is not None), self.created_at)


@dataclass(frozen=True, slots=True)
class Attempt:
    """A former attempt, which did not end its job."""

    attempt: int
    queued_at: datetime
    leased_at: datetime
    started_at: datetime | None
    ended_at: datetime
    outcome: str
    exit_code: int | None
    reason: str | None
    agent_no: int


@dataclass(frozen=True, slots=True)
class JobFilter:
    """What narrows a listing; None does not narrow."""

    group: str | None = None
    status: StatusCode | None = None
    job_ids: Sequence[JobId] | None = None


async def insert_batches(connection: Connection, batches: Sequence[NewBatch]) -> list[int]:
    """Insert batches without their jobs; returns the batch numbers in the same order."""
    numbers = []
    statement = await connection.prepare(_SQL["insert_batch"])
    for batch in batches:
        number = await statement.fetchval(
            batch.id,
            batch.task_id,
            batch.project_id,
            batch.workspace_id,
            batch.group_label,
            batch.created_by,
            batch.created_at,
            batch.size,
            batch.request,
            batch.region,
            batch.priority,
            batch.architecture,
            batch.repository,
            batch.digest,
            batch.vcpus,
            batch.memory_mib,
            batch.disk_gib,
            batch.exec_timeout_seconds,
            batch.max_retries,
            batch.purge_at,
        )
        numbers.append(number)
    return numbers


async def insert_jobs(
    connection: Connection, batch_nos: Sequence[int], sizes: Sequence[int], queued_at: datetime | None
) -> None:
    """Runnable from ``queued_at``; None holds them back until admission releases them."""
    await connection.execute(_SQL["insert_jobs"], list(batch_nos), list(sizes), queued_at)


async def find_job(connection: Connection, task_id: UUID, job_id: JobId) -> Job | None:
    row = await connection.fetchrow(_SQL["find_job"], job_id.parent, job_id.index, task_id)
    return None if row is None else Job(**row)


async def page_jobs(
    connection: Connection, task_id: UUID, after: tuple[int, int], narrow: JobFilter, limit: int
) -> list[Job]:
    """``after`` is a (batch_no, index) position; (0, -1) is the beginning."""
    ids = narrow.job_ids
    rows = await connection.fetch(
        _SQL["page_jobs"],
        task_id,
        after[0],
        after[1],
        narrow.group,
        None if narrow.status is None else int(narrow.status),
        None if ids is None else [job.parent for job in ids],
        None if ids is None else [job.index for job in ids],
        limit,
    )
    return [Job(**row) for row in rows]


async def list_attempts(connection: Connection, batch_no: int, index: int) -> list[Attempt]:
    return [Attempt(**row) for row in await connection.fetch(_SQL["list_attempts"], batch_no, index)]


def _counts(row: Any) -> Counts:
    return {code.status: row[code.name.lower()] for code in StatusCode}


async def count_task(connection: Connection, task_id: UUID) -> Counts:
    return _counts(await connection.fetchrow(_SQL["count_task"], task_id))


async def count_by_group(
    connection: Connection, task_id: UUID, after: str, labels: Sequence[str] | None, limit: int
) -> list[tuple[str, Counts]]:
    """Labels later than ``after`` in order; the empty label of jobs without a group never appears."""
    rows = await connection.fetch(
        _SQL["count_by_group"], task_id, after, None if labels is None else list(labels), limit
    )
    return [(row["group_label"], _counts(row)) for row in rows]


async def owns_batch(connection: Connection, task_id: UUID, user_id: str) -> bool:
    return bool(await connection.fetchval(_SQL["owns_batch"], task_id, user_id))


async def is_unfinished(connection: Connection, job_id: JobId) -> bool:
    return bool(await connection.fetchval(_SQL["is_unfinished"], job_id.parent, job_id.index))
