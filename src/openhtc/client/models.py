"""What the API answers, reduced to the fields in use. Unknown fields are ignored."""

from datetime import datetime

import msgspec

from openhtc.domain.enums import FailureCode, ImageState, JobStatus, LifecycleStatus


class Workspace(msgspec.Struct, rename="camel"):
    id: str
    name: str


class User(msgspec.Struct, rename="camel"):
    user_id: str
    email: str
    workspace: Workspace
    full_name: str = ""
    is_workspace_admin: bool = False


class Project(msgspec.Struct, rename="camel"):
    project_id: str
    project_name: str
    project_description: str
    created_at: datetime
    container_registry: str
    """``host[:port]/path/`` without a scheme; image names are appended to it."""
    regions: list[str]
    repositories: list[str] = []


class Task(msgspec.Struct, rename="camel"):
    project_id: str
    task_id: str
    task_name: str
    task_description: str
    created_at: datetime
    lifecycle_status: LifecycleStatus
    task_folder_path: str = ""


class Repository(msgspec.Struct, rename="camel"):
    repository_name: str
    successfully_created: bool
    """False when the repository existed before."""


class Images(msgspec.Struct, rename="camel"):
    container_registry: str
    images: list[str] = []


class ImageStatus(msgspec.Struct):
    status: ImageState


class Container(msgspec.Struct, rename="camel"):
    exit_code: int | None = None
    reason: str | None = None


class Job(msgspec.Struct, rename="camel"):
    job_uuid: str = msgspec.field(name="jobUUID")
    status: JobStatus
    created_at: datetime
    group: str = ""
    status_reason: str | None = None
    failure_code: FailureCode | None = None
    container: Container | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    image_name: str = ""
    region: str | None = None

    @property
    def index(self) -> int:
        """The job's place in its batch, counted from 0."""
        return int(self.job_uuid.rsplit(":", 1)[1])


class JobEvent(msgspec.Struct, rename="camel"):
    event_id: str
    date_time: datetime
    status: JobStatus
    status_reason: str | None = None
    container: Container | None = None
    user_cancelled_event: bool = False


class LogLine(msgspec.Struct):
    timestamp: str
    """RFC 3339 in UTC, with more digits than a datetime keeps."""
    message: str


class Summary(msgspec.Struct, rename="camel"):
    """How many jobs are in each status, in a task or in one group of it."""

    job_statuses: dict[JobStatus, int]
    group: str | None = None

    @property
    def total(self) -> int:
        return sum(self.job_statuses.values())

    @property
    def succeeded(self) -> int:
        return self.job_statuses.get(JobStatus.SUCCEEDED, 0)

    @property
    def failed(self) -> int:
        return self.job_statuses.get(JobStatus.FAILED, 0)

    @property
    def running(self) -> int:
        return self.job_statuses.get(JobStatus.RUNNING, 0)

    @property
    def finished(self) -> int:
        return sum(count for status, count in self.job_statuses.items() if status.is_terminal)

    @property
    def unfinished(self) -> int:
        return self.total - self.finished


class StorageToken(msgspec.Struct, rename="camel"):
    """Temporary keys for direct use of the object store."""

    storage_name: str
    region: str
    expiration: datetime
    credentials: dict[str, str]
    project_shared_storage_path: str = ""
    storage_path: str = ""

    def __repr__(self) -> str:
        return (
            f"StorageToken({self.storage_path or self.project_shared_storage_path}, until {self.expiration})"
        )


class PresignedPut(msgspec.Struct, rename="camel"):
    url: str
    storage_name: str
    expiration: datetime
