"""Finds a workspace, a project or a task for a caller, or refuses."""

from uuid import UUID

from openhtc.domain.errors import Forbidden, NotFound
from openhtc.domain.identity import Caller
from openhtc.domain.ids import parse_uuid
from openhtc.storage import identity, projects
from openhtc.storage.database import Connection
from openhtc.storage.projects import Project, Task


async def workspace_for(connection: Connection, caller: Caller, workspace_id: str) -> None:
    """Raises NotFound, or Forbidden for another workspace than the caller's."""
    if workspace_id == caller.user.workspace_id:
        return
    if workspace_id in {found.id for found in await identity.list_workspaces(connection)}:
        raise Forbidden(f"workspace {workspace_id} is not yours")
    raise NotFound(f"there is no workspace {workspace_id!r}")


async def project_for(connection: Connection, caller: Caller, project_id: str) -> Project:
    """Raises NotFound, or Forbidden for another workspace's or, with a job's token, another project."""
    found = await projects.find_project(connection, parse_uuid("project", project_id))
    if found is None:
        raise NotFound(f"there is no project {project_id!r}")
    if found.workspace_id != caller.user.workspace_id:
        raise Forbidden(f"project {project_id} is not in your workspace")
    if caller.job is not None and caller.job.project_id != found.id:
        raise Forbidden("a job's token reaches its own project only")
    return found


async def task_for(
    connection: Connection, caller: Caller, project_id: str, task_id: str
) -> tuple[Project, Task]:
    project = await project_for(connection, caller, project_id)
    found = await projects.find_task(connection, project.id, parse_uuid("task", task_id))
    if found is None:
        raise NotFound(f"there is no task {task_id!r} in project {project_id}")
    if caller.job is not None and caller.job.task_id != found.id:
        raise Forbidden("a job's token reaches its own task only")
    return project, found


async def own_task(connection: Connection, caller: Caller, project_id: str, task_id: str) -> Task:
    """The task alone, with one question where nothing is to be refused; raises as ``task_for``."""
    try:
        asked = parse_uuid("project", project_id), parse_uuid("task", task_id)
    except NotFound:
        return (await task_for(connection, caller, project_id, task_id))[1]
    found = await projects.find_task(connection, *asked)
    of_job = None if caller.job is None else (caller.job.project_id, caller.job.task_id)
    if found is None or found.workspace_id != caller.user.workspace_id or of_job not in (None, asked):
        return (await task_for(connection, caller, project_id, task_id))[1]
    return found


def task_folder(project_id: UUID, task_id: UUID) -> str:
    return f"projects/{project_id}/tasks/{task_id}"


def shared_folder(project_id: UUID) -> str:
    return f"projects/{project_id}/shared"
