"""Takes in batches: checks everything, pins images, and stores all of it in one transaction."""

import asyncio
import secrets
from collections.abc import Mapping
from datetime import datetime
from itertools import count
from uuid import UUID, uuid4

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from openhtc.domain.enums import LifecycleStatus
from openhtc.domain.errors import ImageUnavailable, InvalidRequest
from openhtc.domain.identity import Caller
from openhtc.domain.names import split_image
from openhtc.domain.permissions import Operation, permit
from openhtc.domain.placement import PRIORITY_NUMBERS
from openhtc.domain.regions import Region, spread
from openhtc.domain.retention import JOBS_KEPT
from openhtc.domain.submission import JobSubmitRequest
from openhtc.domain.validation import check_group, check_submission, wanted_regions
from openhtc.registry.scopes import repository_path
from openhtc.services.access import task_for
from openhtc.services.admission import Admission
from openhtc.services.clock import Clock
from openhtc.services.images import Images
from openhtc.storage import jobs, leasing, limits, projects, regions
from openhtc.storage.database import Connection, Database
from openhtc.storage.jobs import NewBatch
from openhtc.storage.projects import Project, Task


class Submission:
    def __init__(self, database: Database, images: Images, admitting: Admission, clock: Clock) -> None:
        self._database = database
        self._images = images
        self._admitting = admitting
        self._clock = clock
        self._turn = count(secrets.randbelow(1_000_000))

    async def submit(
        self, caller: Caller, project_id: str, task_id: str, group: str, requests: list[JobSubmitRequest]
    ) -> list[JobSubmitRequest]:
        """Store every batch or none; the answer repeats the requests, read-only members filled in.

        Raises InvalidRequest, and ImageUnavailable for an image that is not in the project's registry.
        """
        permit(caller, Operation.SUBMIT_JOBS)
        check_group(group)
        async with self._database.connection() as connection:
            project, task = await task_for(connection, caller, project_id, task_id)
        _refuse_inactive(task.lifecycle)
        check_submission(requests, project.regions)
        async with self._database.connection() as connection:
            weights = await regions.region_weights(connection, project.regions)
        digests = await self._pin(project, requests)
        now = self._clock()
        accepted = [
            self._accept(caller, self._place(position, request, project, weights), task, group, request, now)
            for position, request in enumerate(requests)
        ]
        batches = [
            self._batch(caller, task, group, request, digests[request.htc_job_definition.image_name], now)
            for request in accepted
        ]

        async def store(connection: Connection) -> bool:
            limited = await limits.is_limited(connection, project.workspace_id, project.id)
            _refuse_inactive(await projects.hold_task(connection, task.id))
            numbers = await jobs.insert_batches(connection, batches)
            sizes = [batch.size for batch in batches]
            await jobs.insert_jobs(connection, numbers, sizes, None if limited else now)
            await leasing.touch_tasks(connection, [task.id], now)
            return limited

        if await self._database.run(store):
            await self._admitting.begin(project.workspace_id)
        return [replace(request, regions=UNSET, region=UNSET) for request in accepted]

    async def _pin(self, project: Project, requests: list[JobSubmitRequest]) -> dict[str, str]:
        """The digest of every image, asked for once each."""
        first_use: dict[str, int] = {}
        for position, request in enumerate(requests):
            first_use.setdefault(request.htc_job_definition.image_name, position)
        found = await asyncio.gather(*(self._images.digest(project, image) for image in first_use))
        digests: dict[str, str] = {}
        for (image, position), digest in zip(first_use.items(), found, strict=True):
            if digest is None:
                raise ImageUnavailable(
                    f"[{position}].htcJobDefinition.imageName: {image!r} is not in the registry of the "
                    f"project, {self._images.address(project.id)}"
                )
            digests[image] = digest
        return digests

    def _accept(
        self,
        caller: Caller,
        region: Region,
        task: Task,
        group: str,
        request: JobSubmitRequest,
        now: datetime,
    ) -> JobSubmitRequest:
        """The request with everything filled in that the answer and later readings show."""
        named = request.cloud_provider
        repository = request.htc_job_definition.image_name.split(":")[0].replace("/", "-")
        parent = uuid4()
        return replace(
            request,
            regions=[region],
            region=UNSET,
            cloud_provider=region.cloud_provider if isinstance(named, UnsetType) else named,
            task_id=str(task.id),
            project_id=str(task.project_id),
            parent_job_id=str(parent),
            created_by=caller.user.id,
            workspace_id=task.workspace_id,
            group=group,
            rescale_time_received=now.isoformat().replace("+00:00", "Z"),
            job_definition_name=f"{repository}-{str(parent)[:8]}",
        )

    def _place(
        self, position: int, request: JobSubmitRequest, project: Project, weights: Mapping[str, float]
    ) -> Region:
        """Batches are spread by weight over the enabled regions that their request, or else the project, allows."""
        allowed = wanted_regions(request) or [Region(name) for name in project.regions]
        choice = [region for region in allowed if region in weights]
        if not choice:
            raise InvalidRequest(f"[{position}].regions: {', '.join(allowed)} is switched off at the moment")
        return spread([(region, weights[region]) for region in choice], next(self._turn))

    def _batch(
        self, caller: Caller, task: Task, group: str, request: JobSubmitRequest, digest: str, now: datetime
    ) -> NewBatch:
        definition = request.htc_job_definition
        parts = split_image(definition.image_name)
        assert parts is not None, "the image was found under this name"
        assert isinstance(request.regions, list), "filled in on acceptance"
        return NewBatch(
            id=UUID(str(request.parent_job_id)),
            task_id=task.id,
            project_id=task.project_id,
            workspace_id=task.workspace_id,
            group_label=group,
            created_by=caller.user.id,
            created_at=now,
            size=request.batch_size,
            request=msgspec.to_builtins(request),
            region=request.regions[0].value,
            priority=PRIORITY_NUMBERS[definition.priority],
            architecture=None
            if isinstance(definition.architecture, UnsetType)
            else definition.architecture.value,
            repository=repository_path(str(task.project_id), parts[0]),
            digest=digest,
            vcpus=definition.max_vcpus,
            memory_mib=definition.max_memory,
            disk_gib=definition.max_disk_gib,
            exec_timeout_seconds=definition.exec_timeout_seconds,
            max_retries=request.max_retries,
            purge_at=now + JOBS_KEPT,
        )


def _refuse_inactive(state: LifecycleStatus) -> None:
    if state is not LifecycleStatus.ACTIVE:
        raise InvalidRequest(f"the task is {state}, expected ACTIVE", code="TASK_NOT_ACTIVE")
