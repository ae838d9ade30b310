"""Projects, their repositories and their tasks."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from openhtc.domain.enums import LifecycleStatus
from openhtc.storage.database import Connection
from openhtc.storage.queries import load

_SQL = load("projects")


@dataclass(frozen=True, slots=True)
class Project:
    id: UUID
    seq: int
    workspace_id: str
    name: str
    description: str
    regions: list[str]
    created_by: str
    created_at: datetime
    organization_code: str
    repositories: list[str]


@dataclass(frozen=True, slots=True)
class Task:
    id: UUID
    seq: int
    project_id: UUID
    name: str
    description: str
    created_by: str
    created_at: datetime
    last_active_at: datetime
    archived_at: datetime | None
    deleted_at: datetime | None
    workspace_id: str

    @property
    def lifecycle(self) -> LifecycleStatus:
        return lifecycle(self.archived_at, self.deleted_at)


def lifecycle(archived_at: datetime | None, deleted_at: datetime | None) -> LifecycleStatus:
    if deleted_at is not None:
        return LifecycleStatus.DELETED
    return LifecycleStatus.ACTIVE if archived_at is None else LifecycleStatus.ARCHIVED


async def insert_project(connection: Connection, project: Project) -> None:
    """Ignores seq, organization_code and repositories, which are not the project's own."""
    await connection.execute(
        _SQL["insert_project"],
        project.id,
        project.workspace_id,
        project.name,
        project.description,
        project.regions,
        project.created_by,
        project.created_at,
    )


async def find_project(connection: Connection, project_id: UUID) -> Project | None:
    row = await connection.fetchrow(_SQL["find_project"], project_id)
    return None if row is None else Project(**row)


async def page_projects(
    connection: Connection, workspace_id: str, after: int, created_by: str | None, limit: int
) -> list[Project]:
    rows = await connection.fetch(_SQL["page_projects"], workspace_id, after, created_by, limit)
    return [Project(**row) for row in rows]


async def insert_repository(
    connection: Connection, project_id: UUID, name: str, created_by: str, now: datetime
) -> bool:
    """False when it existed."""
    return await connection.fetchval(_SQL["insert_repository"], project_id, name, created_by, now) is not None


async def list_repositories(connection: Connection, project_id: UUID) -> list[str]:
    return [row["name"] for row in await connection.fetch(_SQL["list_repositories"], project_id)]


async def insert_task(connection: Connection, task: Task) -> None:
    await connection.execute(
        _SQL["insert_task"],
        task.id,
        task.project_id,
        task.name,
        task.description,
        task.created_by,
        task.created_at,
    )


async def find_task(connection: Connection, project_id: UUID, task_id: UUID) -> Task | None:
    row = await connection.fetchrow(_SQL["find_task"], task_id, project_id)
    return None if row is None else Task(**row)


async def has_task(connection: Connection, task_id: UUID) -> bool:
    return bool(await connection.fetchval(_SQL["has_task"], task_id))


async def lock_task(connection: Connection, task_id: UUID) -> LifecycleStatus:
    """The task's state, which the caller may change until the transaction ends."""
    return await _state(connection, "lock_task", task_id)


async def hold_task(connection: Connection, task_id: UUID) -> LifecycleStatus:
    """The task's state, which nobody can change until the transaction ends."""
    return await _state(connection, "hold_task", task_id)


async def _state(connection: Connection, statement: str, task_id: UUID) -> LifecycleStatus:
    row = await connection.fetchrow(_SQL[statement], task_id)
    assert row is not None, "tasks are marked as deleted, never removed"
    return lifecycle(row["archived_at"], row["deleted_at"])


async def page_tasks(connection: Connection, project_id: UUID, after: int, limit: int) -> list[Task]:
    rows = await connection.fetch(_SQL["page_tasks"], project_id, after, limit)
    return [Task(**row) for row in rows]
