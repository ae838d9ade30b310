"""vCPU limits of projects and of the workspace."""

from typing import Annotated

from litestar import delete, get, patch, post
from litestar.params import JSONBody, PathParameter

from openhtc.api.requests import PathText, WithCaller, WithServices
from openhtc.api.schemas.limits import (
    LimitCreateBody,
    LimitUpdateBody,
    ProjectLimitBody,
    WorkspaceLimitBody,
    project_limit_body,
    workspace_limit_body,
)

_LIMITS = "/htc/projects/{project_id:str}/limits"
_LIMIT = f"{_LIMITS}/{{limit_id:int}}"

LimitId = Annotated[int, PathParameter(schema_extra={"format": "int32"})]


@get(_LIMITS, summary="The project's limits")
async def list_limits(
    services: WithServices, caller: WithCaller, project_id: PathText
) -> list[ProjectLimitBody]:
    """At most one for each role; the smallest of them and of the workspace's holds."""
    return [project_limit_body(limit) for limit in await services.limits.list(caller, project_id)]


@post(_LIMITS, status_code=201, summary="Set the project's limit of a role")
async def put_limit(
    services: WithServices, caller: WithCaller, project_id: PathText, data: JSONBody[LimitCreateBody]
) -> ProjectLimitBody:
    """Replaces the limit that the project has of this role. Held jobs are released as far as there is room now."""
    return project_limit_body(await services.limits.put(caller, project_id, data.modifier_role, data.vcpus))


@delete(_LIMITS, summary="Remove all limits of the project")
async def remove_limits(services: WithServices, caller: WithCaller, project_id: PathText) -> None:
    """Nothing is removed when one of the limits is not the caller's to remove."""
    await services.limits.remove_all(caller, project_id)


@get(_LIMIT, summary="One limit")
async def get_limit(
    services: WithServices, caller: WithCaller, project_id: PathText, limit_id: LimitId
) -> ProjectLimitBody:
    """Its role says who may change it."""
    return project_limit_body(await services.limits.get(caller, project_id, limit_id))


@patch(_LIMIT, summary="Change a limit")
async def change_limit(
    services: WithServices,
    caller: WithCaller,
    project_id: PathText,
    limit_id: LimitId,
    data: JSONBody[LimitUpdateBody],
) -> ProjectLimitBody:
    """A lower limit stops no job that was released before."""
    return project_limit_body(await services.limits.change(caller, project_id, limit_id, data.vcpus))


@delete(_LIMIT, summary="Remove a limit")
async def remove_limit(
    services: WithServices, caller: WithCaller, project_id: PathText, limit_id: LimitId
) -> None:
    """Held jobs go on if nothing else holds them."""
    await services.limits.remove(caller, project_id, limit_id)


@get("/htc/workspaces/{workspace_id:str}/limits", summary="The workspace's limit")
async def get_workspace_limit(
    services: WithServices, caller: WithCaller, workspace_id: PathText
) -> WorkspaceLimitBody:
    """404 when the operator has set none."""
    return workspace_limit_body(await services.limits.of_workspace(caller, workspace_id))


HANDLERS = [
    list_limits,
    put_limit,
    remove_limits,
    get_limit,
    change_limit,
    remove_limit,
    get_workspace_limit,
]
