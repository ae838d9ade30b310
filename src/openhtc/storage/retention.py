"""Retention policies, the states of tasks, and the files that deleted tasks leave behind."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from openhtc.storage.database import Connection
from openhtc.storage.queries import load

_SQL = load("retention")


@dataclass(frozen=True, slots=True)
class Policy:
    """Hours; 0 is never. A policy without a project is the workspace's own."""

    workspace_id: str
    project_id: UUID | None
    archive_after: int
    delete_after: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class DeletedTask:
    id: UUID
    project_id: UUID
    deleted_at: datetime


async def put_policy(connection: Connection, policy: Policy) -> None:
    await connection.execute(
        _SQL["put_policy"],
        policy.workspace_id,
        policy.project_id,
        policy.archive_after,
        policy.delete_after,
        policy.created_at,
    )


async def find_policy(connection: Connection, workspace_id: str, project_id: UUID | None) -> Policy | None:
    row = await connection.fetchrow(_SQL["find_policy"], workspace_id, project_id)
    return None if row is None else Policy(**row)


async def drop_policy(connection: Connection, workspace_id: str, project_id: UUID) -> Policy | None:
    """The project's policy as it was; None when it had none."""
    row = await connection.fetchrow(_SQL["drop_policy"], workspace_id, project_id)
    return None if row is None else Policy(**row)


async def count_unfinished(connection: Connection, task_id: UUID) -> int:
    return int(await connection.fetchval(_SQL["count_unfinished"], task_id))


async def archive_task(connection: Connection, task_id: UUID, now: datetime) -> None:
    await connection.execute(_SQL["archive_task"], task_id, now)


async def restore_task(connection: Connection, task_id: UUID, now: datetime) -> None:
    """ACTIVE again, with a fresh start of the time that it may be idle."""
    await connection.execute(_SQL["restore_task"], task_id, now)


async def delete_task(connection: Connection, task_id: UUID, now: datetime) -> None:
    """The row stays; its files are due to be removed from now on."""
    await connection.execute(_SQL["delete_task"], task_id, now)


async def archive_idle(connection: Connection, now: datetime, limit: int) -> list[UUID]:
    """Archive tasks whose policy says so, in a transaction; fewer than ``limit`` when no more are to be found."""
    idle = [row["id"] for row in await connection.fetch(_SQL["lock_idle"], now, limit)]
    return [row["id"] for row in await connection.fetch(_SQL["archive_tasks"], idle, now)]


async def delete_archived(connection: Connection, now: datetime, limit: int) -> list[tuple[UUID, int]]:
    """Delete archived tasks whose policy says so; each with the hours of that policy."""
    rows = await connection.fetch(_SQL["delete_archived"], now, limit)
    return [(row["id"], row["hours"]) for row in rows]


async def due_storage(connection: Connection, now: datetime) -> DeletedTask | None:
    row = await connection.fetchrow(_SQL["due_storage"], now)
    return None if row is None else DeletedTask(**row)


async def postpone_storage(connection: Connection, task_id: UUID, due_at: datetime) -> None:
    await connection.execute(_SQL["postpone_storage"], task_id, due_at)


async def note_storage_freed(
    connection: Connection, task_id: UUID, now: datetime, due_at: datetime | None
) -> None:
    """``due_at``: when to look once more; None when it was done for good."""
    await connection.execute(_SQL["note_storage_freed"], task_id, now, due_at)
