"""Bodies of the task operations."""

from typing import Annotated

from msgspec import UNSET, Struct, UnsetType

from openhtc.api.schemas.pieces import Moment, ReadOnly
from openhtc.api.times import rfc3339, rfc3339_or_none
from openhtc.domain.enums import LifecycleStatus
from openhtc.storage.projects import Task

Text = Annotated[str | UnsetType, ReadOnly]


class TaskFacts(Struct, frozen=True, rename="camel"):
    """What every answer about a task says; a client sends the name and the description."""

    task_name: str
    task_description: str
    project_id: Text = UNSET
    task_id: Text = UNSET
    created_by: Text = UNSET
    created_at: Annotated[Moment | UnsetType, ReadOnly] = UNSET
    last_active_at: Annotated[Moment | UnsetType, ReadOnly] = UNSET
    workspace_id: Text = UNSET
    task_folder_path: Text = UNSET
    lifecycle_status: Annotated[LifecycleStatus | UnsetType, ReadOnly] = UNSET


class TaskBody(TaskFacts, frozen=True):
    """A task in any state; its dates are null until they are set."""

    archived_at: Annotated[Moment | None | UnsetType, ReadOnly] = UNSET
    deleted_at: Annotated[Moment | None | UnsetType, ReadOnly] = UNSET


class DeletedTaskBody(TaskFacts, frozen=True):
    """What the deletion answers: clients of this operation know no null, so a task never archived says nothing."""

    archived_at: Annotated[Moment | UnsetType, ReadOnly] = UNSET
    deleted_at: Annotated[Moment | UnsetType, ReadOnly] = UNSET


class TaskUpdate(Struct, frozen=True, rename="camel"):
    lifecycle_status: LifecycleStatus


class TaskPage(Struct, frozen=True):
    items: list[TaskBody]
    next: str | UnsetType = UNSET


def task_body(task: Task) -> TaskBody:
    return TaskBody(
        task_name=task.name,
        task_description=task.description,
        project_id=str(task.project_id),
        task_id=str(task.id),
        created_by=task.created_by,
        created_at=rfc3339(task.created_at),
        last_active_at=rfc3339(task.last_active_at),
        archived_at=rfc3339_or_none(task.archived_at),
        deleted_at=rfc3339_or_none(task.deleted_at),
        workspace_id=task.workspace_id,
        task_folder_path=f"projects/{task.project_id}/tasks/{task.id}",
        lifecycle_status=task.lifecycle,
    )


def deleted_task_body(task: Task) -> DeletedTaskBody:
    known = task_body(task)
    return DeletedTaskBody(
        **{name: getattr(known, name) for name in TaskFacts.__struct_fields__},
        archived_at=known.archived_at or UNSET,
        deleted_at=known.deleted_at or UNSET,
    )
