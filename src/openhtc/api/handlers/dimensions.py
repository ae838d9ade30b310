"""Dimensions: where the jobs of a project or a workspace may run."""

from litestar import get, put
from litestar.params import JSONBody

from openhtc.api.requests import PathText, WithCaller, WithServices
from openhtc.api.schemas.dimensions import (
    EnvironmentBody,
    EnvironmentEntry,
    environment,
    environment_body,
)

_PROJECT = "/htc/projects/{project_id:str}/dimensions"


@get(_PROJECT, summary="The environments that the project's jobs are held to")
async def get_project_dimensions(
    services: WithServices, caller: WithCaller, project_id: PathText
) -> list[EnvironmentBody]:
    """A job runs on a node when one entry fits in everything that it names. An empty list does not restrict.

    `derived` tells what the entry's machine type is, once a node of that type has been seen. The workspace's
    own list holds beside this one.
    """
    return [environment_body(entry) for entry in await services.dimensions.of_project(caller, project_id)]


@put(_PROJECT, status_code=201, summary="Replace the environments that the project's jobs are held to")
async def set_project_dimensions(
    services: WithServices,
    caller: WithCaller,
    project_id: PathText,
    data: JSONBody[list[EnvironmentEntry]],
) -> list[EnvironmentBody]:
    """For workspace and organization admins. The whole list is replaced; an empty one removes every restriction.

    Every entry must be compatible with an entry of the workspace's list, where that is not empty. The change decides
    about every job that is not yet placed; running ones go on. `computeScalingPolicy` is kept and has no effect.
    """
    wanted = [environment(entry) for entry in data]
    return [
        environment_body(entry) for entry in await services.dimensions.set_project(caller, project_id, wanted)
    ]


@get("/htc/workspaces/{workspace_id:str}/dimensions", summary="The environments of the workspace")
async def get_workspace_dimensions(
    services: WithServices, caller: WithCaller, workspace_id: PathText
) -> list[EnvironmentBody]:
    """What the jobs of all projects of the workspace are held to; only operators change it."""
    return [environment_body(entry) for entry in await services.dimensions.of_workspace(caller, workspace_id)]


HANDLERS = [get_project_dimensions, set_project_dimensions, get_workspace_dimensions]
