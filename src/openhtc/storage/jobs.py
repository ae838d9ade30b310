"""Batches and jobs as users see them: submission, reading, counting."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

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


class Batch(msgspec.Struct, frozen=True):
    """What the jobs of a batch share."""

    batch_no: int
    id: UUID
    task_id: UUID
    project_id: UUID
    workspace_id: str
    group_label: str
    created_by: str
    created_at: datetime
    request: dict[str, Any]
    region: str
    vcpus: int
    memory_mib: int
    disk_gib: int
    exec_timeout_seconds: int


class Job(msgspec.Struct, frozen=True):
    """One job. Times are those of the current attempt."""

    batch: Batch
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
    rests_until: datetime | None
    failure: str | None
    reason: str | None
    agent_no: int | None
    node: str | None
    node_architecture: str | None

    @property
    def batch_no(self) -> int:
        return self.batch.batch_no

    @property
    def job_id(self) -> JobId:
        return JobId(self.batch.id, self.idx)

    @property
    def job_status(self) -> JobStatus:
        return _STATUSES[self.status]

    @property
    def updated_at(self) -> datetime:
        return self.ended_at or self.started_at or self.leased_at or self.queued_at or self.batch.created_at


_OF_BATCH = Batch.__struct_fields__
_OF_JOB = tuple(name for name in Job.__struct_fields__ if name != "batch")
_STATUSES = {int(code): code.status for code in StatusCode}


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
    for batch in batches:
        number = await connection.fetchval(
            _SQL["insert_batch"],
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
    return None if row is None else _job(_batch(row), row)


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
    numbers = sorted({row["batch_no"] for row in rows})
    batches = {b["batch_no"]: _batch(b) for b in await connection.fetch(_SQL["find_batches"], numbers)}
    # A batch may have been removed, with its jobs, between the two statements.
    return [_job(batches[row["batch_no"]], row) for row in rows if row["batch_no"] in batches]


def _batch(row: asyncpg.Record) -> Batch:
    return Batch(**{name: row[name] for name in _OF_BATCH})


def _job(batch: Batch, row: asyncpg.Record) -> Job:
    return Job(batch, **{name: row[name] for name in _OF_JOB})


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
