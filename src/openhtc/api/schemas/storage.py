"""Bodies of the storage operations."""

from collections.abc import Sequence

from msgspec import UNSET, Struct, UnsetType

from openhtc.api.schemas.pieces import Moment
from openhtc.api.times import rfc3339
from openhtc.domain.enums import CloudProvider
from openhtc.domain.regions import Region
from openhtc.services.access import shared_folder, task_folder
from openhtc.services.storage_access import Presigned, StoreAccess
from openhtc.storage.projects import Project, Task


class StorageToken(Struct, frozen=True, rename="camel"):
    """Temporary S3 keys. ``storagePath`` is the task's own folder, absent in a project's token."""

    project_shared_storage_path: str
    project_id: str
    storage_name: str
    region: Region
    user: str
    expiration: Moment
    credentials: dict[str, str]
    provider: CloudProvider
    storage_path: str | UnsetType = UNSET
    endpoint: str | UnsetType = UNSET
    """Where the keys are good: an extension, since not every S3 is Amazon's."""


class StorageTokens(Struct, frozen=True, rename="camel"):
    """A token for every region of the project."""

    default_region: Region
    region_stores: list[StorageToken]


class RegionalStore(Struct, frozen=True, rename="camel"):
    region: Region
    project_path: str
    task_path: str
    credentials: dict[str, str]
    provider: CloudProvider


class RegionalStorage(Struct, frozen=True, rename="camel"):
    """Where a task's files are in every region of its project; ``rescaleRegion`` is the default one."""

    rescale_region: Region
    regional_stores: list[RegionalStore]


class PresignedUrl(Struct, frozen=True, rename="camel"):
    url: str
    storage_name: str
    region: Region
    expiration: Moment


class StorageOption(Struct, frozen=True, rename="camel"):
    storage_name: str
    region: Region
    provider: CloudProvider


def storage_token(project: Project, task: Task | None, owner: str, access: StoreAccess) -> StorageToken:
    return StorageToken(
        project_shared_storage_path=_shared(project, access),
        project_id=str(project.id),
        storage_name=access.bucket,
        region=access.region,
        user=f"{project.workspace_id}:{owner}",
        expiration=rfc3339(access.keys.expires_at),
        credentials=_credentials(access),
        provider=access.region.cloud_provider,
        storage_path=UNSET if task is None else _own(task, access),
        endpoint=access.endpoint,
    )


def storage_tokens(
    project: Project, task: Task | None, owner: str, accesses: Sequence[StoreAccess]
) -> StorageTokens:
    tokens = [storage_token(project, task, owner, access) for access in accesses]
    return StorageTokens(tokens[0].region, tokens)


def regional_storage(project: Project, task: Task, accesses: Sequence[StoreAccess]) -> RegionalStorage:
    stores = [
        RegionalStore(
            region=access.region,
            project_path=_shared(project, access),
            task_path=_own(task, access),
            credentials=_credentials(access),
            provider=access.region.cloud_provider,
        )
        for access in accesses
    ]
    return RegionalStorage(stores[0].region, stores)


def presigned_url(presigned: Presigned) -> PresignedUrl:
    region = Region(presigned.region)
    return PresignedUrl(presigned.url, presigned.bucket, region, rfc3339(presigned.expires_at))


def storage_option(option: tuple[Region, str]) -> StorageOption:
    region, bucket = option
    return StorageOption(bucket, region, region.cloud_provider)


def _shared(project: Project, access: StoreAccess) -> str:
    return f"s3://{access.bucket}/{shared_folder(project.id)}/"


def _own(task: Task, access: StoreAccess) -> str:
    return f"s3://{access.bucket}/{task_folder(task.project_id, task.id)}/"


def _credentials(access: StoreAccess) -> dict[str, str]:
    return {
        "AWS_ACCESS_KEY_ID": access.keys.access_key_id,
        "AWS_SECRET_ACCESS_KEY": access.keys.secret_access_key,
        "AWS_SESSION_TOKEN": access.keys.session_token,
    }
