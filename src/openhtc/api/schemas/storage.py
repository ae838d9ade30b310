"""Bodies of the storage operations."""

from msgspec import UNSET, Struct, UnsetType

from openhtc.api.schemas.pieces import Moment
from openhtc.api.times import rfc3339
from openhtc.domain.enums import CloudProvider
from openhtc.domain.regions import Region
from openhtc.objects.temporary import TemporaryKeys
from openhtc.services.access import shared_folder, task_folder
from openhtc.services.storage_access import Presigned
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


class PresignedUrl(Struct, frozen=True, rename="camel"):
    url: str
    storage_name: str
    region: Region
    expiration: Moment


def storage_token(
    project: Project,
    task: Task | None,
    region: str,
    keys: TemporaryKeys,
    owner: str,
    bucket: str,
    endpoint: str,
) -> StorageToken:
    where = Region(region)
    return StorageToken(
        project_shared_storage_path=f"s3://{bucket}/{shared_folder(project.id)}/",
        project_id=str(project.id),
        storage_name=bucket,
        region=where,
        user=f"{project.workspace_id}:{owner}",
        expiration=rfc3339(keys.expires_at),
        credentials={
            "AWS_ACCESS_KEY_ID": keys.access_key_id,
            "AWS_SECRET_ACCESS_KEY": keys.secret_access_key,
            "AWS_SESSION_TOKEN": keys.session_token,
        },
        provider=where.cloud_provider,
        storage_path=UNSET if task is None else f"s3://{bucket}/{task_folder(project.id, task.id)}/",
        endpoint=endpoint,
    )


def presigned_url(presigned: Presigned, bucket: str) -> PresignedUrl:
    return PresignedUrl(presigned.url, bucket, Region(presigned.region), rfc3339(presigned.expires_at))
