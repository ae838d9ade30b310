"""How long tasks are kept."""

from litestar import delete, get, put
from litestar.params import JSONBody

from openhtc.api.requests import PathText, WithCaller, WithServices
from openhtc.api.schemas.retention import (
    ProjectPolicy,
    WorkspacePolicy,
    project_policy,
    workspace_policy,
)

_PROJECT = "/htc/projects/{project_id:str}/task-retention-policy"
_WORKSPACE = "/htc/workspaces/{workspace_id:str}/task-retention-policy"


@get(_PROJECT, summary="The project's own retention policy; without one the workspace's applies")
async def get_project_policy(
    services: WithServices, caller: WithCaller, project_id: PathText
) -> ProjectPolicy:
    """Hours; 0 switches the feature off."""
    return project_policy(await services.retention.of_project(caller, project_id))


@put(_PROJECT, status_code=201, summary="Set the project's retention policy")
async def set_project_policy(
    services: WithServices, caller: WithCaller, project_id: PathText, data: JSONBody[ProjectPolicy]
) -> ProjectPolicy:
    """For the project's creator and admins. It replaces the workspace's policy as a whole."""
    hours = (data.archive_after, data.delete_after)
    return project_policy(await services.retention.set_for_project(caller, project_id, *hours))


@delete(_PROJECT, summary="Fall back to the workspace's retention policy")
async def clear_project_policy(services: WithServices, caller: WithCaller, project_id: PathText) -> None:
    """For the project's creator and admins."""
    await services.retention.clear_for_project(caller, project_id)


@get(_WORKSPACE, summary="The retention policy of projects without their own")
async def get_workspace_policy(
    services: WithServices, caller: WithCaller, workspace_id: PathText
) -> WorkspacePolicy:
    """Hours; 0 switches the feature off."""
    return workspace_policy(await services.retention.of_workspace(caller, workspace_id))


@put(_WORKSPACE, status_code=201, summary="Set the workspace's retention policy")
async def set_workspace_policy(
    services: WithServices, caller: WithCaller, workspace_id: PathText, data: JSONBody[WorkspacePolicy]
) -> WorkspacePolicy:
    """For admins. It holds for every project without a policy of its own."""
    hours = (data.archive_after, data.delete_after)
    return workspace_policy(await services.retention.set_for_workspace(caller, workspace_id, *hours))


HANDLERS = [
    get_project_policy,
    set_project_policy,
    clear_project_policy,
    get_workspace_policy,
    set_workspace_policy,
]
