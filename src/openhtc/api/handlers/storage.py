"""Temporary keys and presigned addresses for files."""

from typing import Annotated

from litestar import get
from litestar.params import QueryParameter

from openhtc.api.requests import PathText, WithCaller, WithServices
from openhtc.api.schemas.storage import PresignedUrl, StorageToken, presigned_url, storage_token
from openhtc.api.services import Services
from openhtc.domain.identity import Caller

_PROJECT = "/htc/projects/{project_id:str}/storage"
_TASK = "/htc/projects/{project_id:str}/tasks/{task_id:str}/storage"

FilePath = Annotated[str, QueryParameter(name="filePath", min_length=1)]


async def _project_token(
    services: Services, caller: Caller, project_id: str, region: str | None
) -> StorageToken:
    project, where, keys = await services.storage.project_keys(caller, project_id, region)
    return storage_token(project, None, where, keys, caller.user.id, services.bucket, services.s3_endpoint)


async def _task_token(
    services: Services, caller: Caller, project_id: str, task_id: str, region: str | None
) -> StorageToken:
    project, task, where, keys = await services.storage.task_keys(caller, project_id, task_id, region)
    return storage_token(project, task, where, keys, caller.user.id, services.bucket, services.s3_endpoint)


@get(f"{_PROJECT}/token", summary="Temporary S3 keys for the project's files")
async def get_project_token(services: WithServices, caller: WithCaller, project_id: PathText) -> StorageToken:
    return await _project_token(services, caller, project_id, None)


@get(f"{_PROJECT}/token/{{region:str}}", summary="Temporary S3 keys for the project's files in one region")
async def get_project_region_token(
    services: WithServices,
    caller: WithCaller,
    project_id: PathText,
    region: PathText,
) -> StorageToken:
    return await _project_token(services, caller, project_id, region)


@get(f"{_PROJECT}/presigned-url", summary="An address to which one file of the project can be put")
async def get_project_presigned_url(
    services: WithServices,
    caller: WithCaller,
    project_id: PathText,
    file_path: FilePath,
) -> PresignedUrl:
    return presigned_url(
        await services.storage.presign_project(caller, project_id, file_path), services.bucket
    )


@get(f"{_TASK}/token", summary="Temporary S3 keys for the task's files")
async def get_task_token(
    services: WithServices,
    caller: WithCaller,
    project_id: PathText,
    task_id: PathText,
) -> StorageToken:
    return await _task_token(services, caller, project_id, task_id, None)


@get(f"{_TASK}/token/{{region:str}}", summary="Temporary S3 keys for the task's files in one region")
async def get_task_region_token(
    services: WithServices,
    caller: WithCaller,
    project_id: PathText,
    task_id: PathText,
    region: PathText,
) -> StorageToken:
    return await _task_token(services, caller, project_id, task_id, region)


@get(f"{_TASK}/presigned-url", summary="An address to which one file of the task can be put")
async def get_task_presigned_url(
    services: WithServices,
    caller: WithCaller,
    project_id: PathText,
    task_id: PathText,
    file_path: FilePath,
) -> PresignedUrl:
    presigned = await services.storage.presign_task(caller, project_id, task_id, file_path)
    return presigned_url(presigned, services.bucket)


HANDLERS = [
    get_project_token,
    get_project_region_token,
    get_project_presigned_url,
    get_task_token,
    get_task_region_token,
    get_task_presigned_url,
]
