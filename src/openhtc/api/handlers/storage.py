"""Temporary keys and presigned addresses for files."""

from typing import Annotated

from litestar import get
from litestar.params import QueryParameter

from openhtc.api.requests import PathRegion, PathText, WithCaller, WithServices
from openhtc.api.schemas.storage import (
    PresignedUrl,
    RegionalStorage,
    StorageOption,
    StorageToken,
    StorageTokens,
    presigned_url,
    regional_storage,
    storage_option,
    storage_token,
    storage_tokens,
)

_PROJECT = "/htc/projects/{project_id:str}/storage"
_TASK = "/htc/projects/{project_id:str}/tasks/{task_id:str}/storage"

FilePath = Annotated[str, QueryParameter(name="filePath", min_length=1)]


@get(f"{_PROJECT}/token", summary="Temporary S3 keys for the project's files in its default region")
async def get_project_token(services: WithServices, caller: WithCaller, project_id: PathText) -> StorageToken:
    """The keys expire with the token that asked for them, after at least 15 minutes."""
    project, access = await services.storage.of_project(caller, project_id)
    return storage_token(project, None, caller.user.id, access)


@get(f"{_PROJECT}/token/{{region:str}}", summary="Temporary S3 keys for the project's files in one region")
async def get_project_region_token(
    services: WithServices, caller: WithCaller, project_id: PathText, region: PathRegion
) -> StorageToken:
    """The region must be one of the project's."""
    project, access = await services.storage.of_project(caller, project_id, region)
    return storage_token(project, None, caller.user.id, access)


@get(f"{_PROJECT}/tokens", summary="Temporary S3 keys for the project's files in every region of it")
async def get_project_tokens(
    services: WithServices, caller: WithCaller, project_id: PathText
) -> StorageTokens:
    """The default region comes first."""
    project, accesses = await services.storage.all_of_project(caller, project_id)
    return storage_tokens(project, None, caller.user.id, accesses)


@get(f"{_PROJECT}/presigned-url", summary="An address to which one file of the project can be put")
async def get_project_presigned_url(
    services: WithServices, caller: WithCaller, project_id: PathText, file_path: FilePath
) -> PresignedUrl:
    """Below the project's shared folder, good for an hour, for one PUT request."""
    return presigned_url(await services.storage.presign_project(caller, project_id, file_path))


@get(f"{_TASK}/token", summary="Temporary S3 keys for the task's files in the default region")
async def get_task_token(
    services: WithServices, caller: WithCaller, project_id: PathText, task_id: PathText
) -> StorageToken:
    """They open the task's folder and the project's shared one, and expire with the token that asked for them."""
    project, task, access = await services.storage.of_task(caller, project_id, task_id)
    return storage_token(project, task, caller.user.id, access)


@get(f"{_TASK}/token/{{region:str}}", summary="Temporary S3 keys for the task's files in one region")
async def get_task_region_token(
    services: WithServices, caller: WithCaller, project_id: PathText, task_id: PathText, region: PathRegion
) -> StorageToken:
    """The region must be one of the project's."""
    project, task, access = await services.storage.of_task(caller, project_id, task_id, region)
    return storage_token(project, task, caller.user.id, access)


@get(f"{_TASK}/tokens", summary="Temporary S3 keys for the task's files in every region of the project")
async def get_task_tokens(
    services: WithServices, caller: WithCaller, project_id: PathText, task_id: PathText
) -> StorageTokens:
    """The default region comes first."""
    project, task, accesses = await services.storage.all_of_task(caller, project_id, task_id)
    return storage_tokens(project, task, caller.user.id, accesses)


@get(f"{_TASK}/regional-storage", summary="Where the task's files are in every region, with keys")
async def get_regional_storage(
    services: WithServices, caller: WithCaller, project_id: PathText, task_id: PathText
) -> RegionalStorage:
    """One entry for each region of the project, the default one first."""
    project, task, accesses = await services.storage.all_of_task(caller, project_id, task_id)
    return regional_storage(project, task, accesses)


@get(f"{_TASK}/presigned-url", summary="An address to which one file of the task can be put")
async def get_task_presigned_url(
    services: WithServices, caller: WithCaller, project_id: PathText, task_id: PathText, file_path: FilePath
) -> PresignedUrl:
    """Below the task's folder, good for an hour, for one PUT request."""
    return presigned_url(await services.storage.presign_task(caller, project_id, task_id, file_path))


@get("/htc/storage", summary="The storage of every region that the workspace may use")
async def list_storage_options(services: WithServices, caller: WithCaller) -> list[StorageOption]:
    """Their order is that of the workspace's regions."""
    return [storage_option(option) for option in services.storage.options(caller)]


@get("/htc/storage/region/{region:str}", summary="The storage of one region")
async def get_storage_option(services: WithServices, caller: WithCaller, region: PathRegion) -> StorageOption:
    """The region must be one that the workspace may use."""
    return storage_option(services.storage.option(caller, region))


HANDLERS = [
    get_project_token,
    get_project_region_token,
    get_project_tokens,
    get_project_presigned_url,
    get_task_token,
    get_task_region_token,
    get_task_tokens,
    get_regional_storage,
    get_task_presigned_url,
    list_storage_options,
    get_storage_option,
]
