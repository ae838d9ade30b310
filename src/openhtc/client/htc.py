"""HtcClient: the operations of the API, typed."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from openhtc.client import models
from openhtc.client.answers import decode
from openhtc.client.credentials import read_credentials
from openhtc.client.submissions import JobBatch, SubmittedBatch
from openhtc.client.transport import Params, Transport
from openhtc.domain.enums import ImageState, JobStatus, SortOrder, ViewType

T = TypeVar("T")


class _Whoami(msgspec.Struct):
    user: models.User


class HtcClient:
    """A synchronous client of one service as one user. Every method raises HtcError.

    base_url ends in ``/api/v1``. Listings are iterators that fetch page after page.
    """

    def __init__(self, base_url: str, api_key: str, *, transport: httpx.BaseTransport | None = None) -> None:
        self._send = Transport(base_url, api_key, transport=transport)

    @classmethod
    def from_credentials(cls, path: Path) -> Self:
        """Raises SettingsError when the file is not what it should be."""
        found = read_credentials(path)
        return cls(found.base_url, found.api_key)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._send.close()

    @property
    def base_url(self) -> str:
        return self._send.base_url

    def bearer_token(self) -> str:
        return self._send.bearer_token()

    def whoami(self) -> models.User:
        return decode(self._send.with_key("/auth/whoami"), _Whoami).user

    # Projects and images

    def create_project(self, name: str, description: str = "", regions: Sequence[str] = ()) -> models.Project:
        body: dict[str, object] = {"projectName": name, "projectDescription": description}
        if regions:
            body["regions"] = list(regions)
        return self._post("/htc/projects", body, models.Project)

    def project(self, project_id: str) -> models.Project:
        return self._get(_project(project_id), models.Project)

    def projects(self, *, only_mine: bool = False) -> Iterator[models.Project]:
        params = {"onlyMyProjects": str(only_mine).lower()}
        return self._pages("/htc/projects", models.Project, params)

    def registry_token(self, project_id: str) -> str:
        """The password of user ``AWS`` for the project's image registry."""
        return self._send.get(f"{_project(project_id)}/container-registry/token").decode().strip()

    def create_repository(self, project_id: str, name: str) -> models.Repository:
        path = f"{_project(project_id)}/container-registry/repo/{quote(name, safe='/')}"
        return decode(self._send.post(path, idempotent=True), models.Repository)

    def images(self, project_id: str) -> models.Images:
        return self._get(f"{_project(project_id)}/container-registry/images", models.Images)

    def image_status(self, project_id: str, image: str) -> ImageState:
        """image is ``repo:tag``. An image that does not exist is an HtcError with status 404."""
        path = f"{_project(project_id)}/container-registry/images/{quote(image, safe='/:')}"
        return self._get(path, models.ImageStatus).status

    # Tasks

    def create_task(self, project_id: str, name: str, description: str = "") -> models.Task:
        body = {"taskName": name, "taskDescription": description}
        return self._post(f"{_project(project_id)}/tasks", body, models.Task)

    def task(self, project_id: str, task_id: str) -> models.Task:
        return self._get(_task(project_id, task_id), models.Task)

    def delete_task(self, project_id: str, task_id: str) -> None:
        """With its jobs, those too that run; only a workspace administrator may, or who made the task."""
        self._send.request("DELETE", _task(project_id, task_id), idempotent=True)

    def tasks(self, project_id: str) -> Iterator[models.Task]:
        return self._pages(f"{_project(project_id)}/tasks", models.Task)

    def summary(self, project_id: str, task_id: str) -> models.Summary:
        return self._get(f"{_task(project_id, task_id)}/summary-statistics", models.Summary)

    def group_summaries(
        self, project_id: str, task_id: str, groups: Sequence[str] = ()
    ) -> Iterator[models.Summary]:
        path = f"{_task(project_id, task_id)}/group-summary-statistics"
        return self._pages(path, models.Summary, {"group": list(groups)} if groups else {})

    def groups(self, project_id: str, task_id: str) -> list[str]:
        """The labels in use, at most the first 1,000."""
        path = f"{_task(project_id, task_id)}/groups"
        return decode(self._send.get(path, {"pageSize": 1000}), list[str])

    # Jobs

    def submit(
        self, project_id: str, task_id: str, batches: Sequence[JobBatch], *, group: str | None = None
    ) -> list[SubmittedBatch]:
        """Submit up to 100 batches at once; all of them or none."""
        path = f"{_task(project_id, task_id)}/jobs/batch"
        answer = self._send.post(path, list(batches), params=_group(group))
        return decode(answer, list[SubmittedBatch])

    def jobs(
        self,
        project_id: str,
        task_id: str,
        *,
        group: str | None = None,
        status: JobStatus | None = None,
        job_ids: Iterable[str] = (),
        view: ViewType = ViewType.FULL,
    ) -> Iterator[models.Job]:
        params: dict[str, str | int | Sequence[str]] = {"viewType": view.value, "pageSize": 1000}
        params |= _group(group)
        if status is not None:
            params["status"] = status.value
        if ids := list(job_ids):
            params["jobId"] = ids
        return self._pages(f"{_task(project_id, task_id)}/jobs", models.Job, params)

    def job(self, project_id: str, task_id: str, job_id: str) -> models.Job:
        return self._get(_job(project_id, task_id, job_id), models.Job)

    def events(self, project_id: str, task_id: str, job_id: str) -> Iterator[models.JobEvent]:
        return self._pages(f"{_job(project_id, task_id, job_id)}/events", models.JobEvent)

    def logs(
        self,
        project_id: str,
        task_id: str,
        job_id: str,
        *,
        sort: SortOrder = SortOrder.ASC,
        page_size: int = 5000,
    ) -> Iterator[models.LogLine]:
        params: Params = {"sort": sort.value, "pageSize": page_size}
        return self._pages(f"{_job(project_id, task_id, job_id)}/logs", models.LogLine, params)

    def cancel(self, project_id: str, task_id: str, *, group: str | None = None) -> None:
        """Ask for the end of all unfinished jobs of a task or of one group of it."""
        path = f"{_task(project_id, task_id)}/jobs/cancel"
        self._send.post(path, params=_group(group), idempotent=True)

    # Files

    def project_storage_token(self, project_id: str) -> models.StorageToken:
        return self._get(f"{_project(project_id)}/storage/token", models.StorageToken)

    def task_storage_token(self, project_id: str, task_id: str) -> models.StorageToken:
        return self._get(f"{_task(project_id, task_id)}/storage/token", models.StorageToken)

    def presigned_put(
        self, project_id: str, file_path: str, task_id: str | None = None
    ) -> models.PresignedPut:
        """A URL to write one file, relative to the task's folder, or to the project's shared one."""
        owner = _project(project_id) if task_id is None else _task(project_id, task_id)
        return self._get(f"{owner}/storage/presigned-url", models.PresignedPut, {"filePath": file_path})

    def _get(self, path: str, kind: type[T], params: Params | None = None) -> T:
        return decode(self._send.get(path, params), kind)

    def _post(self, path: str, body: object, kind: type[T]) -> T:
        return decode(self._send.post(path, body), kind)

    def _pages(self, path: str, kind: type[T], params: Params | None = None) -> Iterator[T]:
        return (decode(item, kind) for item in self._send.pages(path, params))


def _project(project_id: str) -> str:
    return f"/htc/projects/{quote(project_id, safe='')}"


def _task(project_id: str, task_id: str) -> str:
    return f"{_project(project_id)}/tasks/{quote(task_id, safe='')}"


def _job(project_id: str, task_id: str, job_id: str) -> str:
    return f"{_task(project_id, task_id)}/jobs/{quote(job_id, safe=':')}"


def _group(group: str | None) -> dict[str, str | int | Sequence[str]]:
    return {} if group is None else {"group": group}
