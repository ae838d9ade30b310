"""Limits on the vCPUs of released jobs."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from openhtc.storage.database import Connection
from openhtc.storage.queries import load

_SQL = load("limits")


@dataclass(frozen=True, slots=True)
class Limit:
    """``project_id`` and ``modifier_role`` are None for the limit of a whole workspace."""

    id: int
    workspace_id: str
    project_id: UUID | None
    modifier_role: str | None
    vcpus: int
    created_by: str
    created_at: datetime
    updated_by: str
    updated_at: datetime


async def lock_limits(connection: Connection, workspace_id: str) -> bool:
    """Keeps submissions out until the transaction ends; False when there is no such workspace."""
    await connection.execute(_SQL["lock_limits"], workspace_id)
    return bool(await connection.fetchval(_SQL["has_workspace"], workspace_id))


async def is_limited(connection: Connection, workspace_id: str, project_id: UUID) -> bool:
    """Whether new jobs of a project are held at first; true until the transaction ends."""
    await connection.execute(_SQL["keep_limits"], workspace_id)
    return bool(await connection.fetchval(_SQL["is_limited"], workspace_id, project_id))


async def put_limit(
    connection: Connection,
    workspace_id: str,
    project_id: UUID | None,
    modifier_role: str | None,
    vcpus: int,
    actor: str,
    now: datetime,
) -> Limit:
    """Makes the limit of a role, or changes the one that there is."""
    row = await connection.fetchrow(
        _SQL["put_limit"], workspace_id, project_id, modifier_role, vcpus, actor, now
    )
    assert row is not None, "an upsert returns its row"
    return Limit(**row)


async def change_limit(connection: Connection, limit_id: int, vcpus: int, actor: str, now: datetime) -> Limit:
    row = await connection.fetchrow(_SQL["change_limit"], limit_id, vcpus, actor, now)
    assert row is not None, "the caller has found it under the lock"
    return Limit(**row)


async def project_limits(connection: Connection, project_id: UUID) -> list[Limit]:
    return [Limit(**row) for row in await connection.fetch(_SQL["project_limits"], project_id)]


async def project_limit(connection: Connection, project_id: UUID, limit_id: int) -> Limit | None:
    row = await connection.fetchrow(_SQL["project_limit"], project_id, limit_id)
    return None if row is None else Limit(**row)


async def workspace_limit(connection: Connection, workspace_id: str) -> Limit | None:
    row = await connection.fetchrow(_SQL["workspace_limit"], workspace_id)
    return None if row is None else Limit(**row)


async def remove_limits(connection: Connection, limit_ids: Sequence[int]) -> None:
    await connection.execute(_SQL["remove_limits"], list(limit_ids))
