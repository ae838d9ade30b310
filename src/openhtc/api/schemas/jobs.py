"""Bodies of the job operations."""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, field

from openhtc.api.schemas.pieces import Moment
from openhtc.api.times import rfc3339, rfc3339_nanoseconds, rfc3339_or_none
from openhtc.domain.enums import Architecture, FailureCode, JobStatus
from openhtc.domain.events import Event
from openhtc.domain.ids import event_id
from openhtc.domain.logs import LogLine
from openhtc.domain.regions import Region
from openhtc.domain.submission import EnvPair, Tag
from openhtc.storage.jobs import Batch, Counts, Job

_HELD = "Held back by a vCPU limit of the project or the workspace"


class ContainerBody(Struct, frozen=True, rename="camel"):
    exit_code: int | UnsetType = UNSET
    reason: str | UnsetType = UNSET


class InstanceLabels(Struct, frozen=True, rename="camel"):
    csp: str | UnsetType = UNSET
    priority: str | UnsetType = UNSET
    instance_type: str | UnsetType = UNSET
    instance_architecture: str | UnsetType = UNSET
    account_id: str | UnsetType = UNSET
    region: str | UnsetType = UNSET


class ExecutionEnvironment(Struct, frozen=True, rename="camel"):
    instance_id: str | UnsetType = UNSET
    instance_type: str | UnsetType = UNSET
    architecture: float | UnsetType = UNSET


class JobBody(Struct, frozen=True, rename="camel", kw_only=True):
    """A job; the members after ``instanceLabels`` are left out in the SIMPLE view."""

    job_uuid: str = field(name="jobUUID")
    provider_job_id: str | UnsetType = UNSET
    region: Region | UnsetType = UNSET
    task_id: str
    project_id: str
    workspace_id: str
    created_by: str
    status: JobStatus
    status_reason: str | None
    container: ContainerBody | None
    created_at: Moment
    updated_at: Moment
    started_at: Moment | None
    completed_at: Moment | None
    failure_code: FailureCode | None
    group: str
    instance_id: str | None
    instance_labels: InstanceLabels | None
    commands: list[str] | UnsetType = UNSET
    envs: list[EnvPair] | UnsetType = UNSET
    job_execution_environment: ExecutionEnvironment | UnsetType = UNSET
    tags: list[Tag] | UnsetType = UNSET
    architecture: Architecture | UnsetType = UNSET
    max_vcpus: int | UnsetType = field(default=UNSET, name="maxVCpus")
    min_vcpus: int | UnsetType = field(default=UNSET, name="minVCpus")
    max_memory: Annotated[int, Meta(description="MiB")] | UnsetType = UNSET
    max_disk_gib: int | UnsetType = field(default=UNSET, name="maxDiskGiB")
    exec_timeout_seconds: int | UnsetType = UNSET
    max_swap: int | None | UnsetType = UNSET
    max_gpus: int | None | UnsetType = UNSET
    image_name: str | UnsetType = UNSET


class JobPage(Struct, frozen=True):
    items: list[JobBody]
    next: str | UnsetType = UNSET


class EventBody(Struct, frozen=True, rename="camel"):
    event_id: str
    job_id: str
    date_time: Moment
    status: JobStatus
    status_reason: str | None
    container: ContainerBody | None
    instance_labels: InstanceLabels | None
    instance_id: str | None
    user_cancelled_event: bool


class EventPage(Struct, frozen=True):
    items: list[EventBody]
    next: str | UnsetType = UNSET


class LogLineBody(Struct, frozen=True):
    timestamp: Moment
    message: str


class LogPage(Struct, frozen=True):
    items: list[LogLineBody]
    next: str | UnsetType = UNSET


class StatusCounts(Struct, frozen=True):
    """How many jobs are in each status; all seven are always there."""

    SUBMITTED_TO_RESCALE: int
    SUBMITTED_TO_PROVIDER: int
    RUNNABLE: int
    STARTING: int
    RUNNING: int
    SUCCEEDED: int
    FAILED: int


class SummaryBody(Struct, frozen=True, rename="camel"):
    """Jobs by status. ``group`` is null for a whole task."""

    group: str | None
    job_statuses: StatusCounts


class SummaryPage(Struct, frozen=True):
    items: list[SummaryBody]
    next: str | UnsetType = UNSET


def job_body(job: Job, simple: bool) -> JobBody:
    return job_bodies([job], simple)[0]


def job_bodies(jobs: Sequence[Job], simple: bool) -> list[JobBody]:
    """What the jobs of a batch have in common is made once."""
    patterns: dict[int, JobBody] = {}
    bodies = []
    for job in jobs:
        pattern = patterns.get(job.batch_no)
        if pattern is None:
            pattern = patterns[job.batch_no] = _pattern(job.batch, simple)
        bodies.append(_body(job, pattern))
    return bodies


def _body(job: Job, pattern: JobBody) -> JobBody:
    status = job.job_status
    return msgspec.structs.replace(
        pattern,
        job_uuid=str(job.job_id),
        provider_job_id=str(job.agent_no) if job.agent_no is not None else UNSET,
        status=status,
        status_reason=_HELD if status is JobStatus.SUBMITTED_TO_RESCALE else job.reason,
        container=_container(job.exit_code),
        updated_at=rfc3339(job.updated_at),
        started_at=rfc3339_or_none(job.started_at),
        completed_at=rfc3339_or_none(job.ended_at),
        failure_code=None if job.failure is None else FailureCode(job.failure),
        instance_id=job.node,
        instance_labels=_labels(job),
    )


def _pattern(batch: Batch, simple: bool) -> JobBody:
    """A job of the batch of which nothing is known yet."""
    created_at = rfc3339(batch.created_at)
    shared = JobBody(
        job_uuid="",
        region=Region(batch.region),
        task_id=str(batch.task_id),
        project_id=str(batch.project_id),
        workspace_id=batch.workspace_id,
        created_by=batch.created_by,
        status=JobStatus.RUNNABLE,
        status_reason=None,
        container=None,
        created_at=created_at,
        updated_at=created_at,
        started_at=None,
        completed_at=None,
        failure_code=None,
        group=batch.group_label,
        instance_id=None,
        instance_labels=None,
    )
    return shared if simple else msgspec.structs.replace(shared, **_resources(batch))


def _resources(batch: Batch) -> dict[str, Any]:
    """What only the FULL view shows: what was asked for."""
    definition = batch.request["htcJobDefinition"]
    architecture = definition.get("architecture")
    return {
        "commands": definition["commands"],
        "envs": msgspec.convert(definition["envs"], list[EnvPair]),
        "tags": msgspec.convert(batch.request.get("tags", []), list[Tag]),
        "architecture": UNSET if architecture is None else Architecture(architecture),
        "max_vcpus": batch.vcpus,
        "min_vcpus": batch.vcpus,
        "max_memory": batch.memory_mib,
        "max_disk_gib": batch.disk_gib,
        "exec_timeout_seconds": batch.exec_timeout_seconds,
        "max_swap": definition.get("maxSwap"),
        "max_gpus": None,
        "image_name": definition["imageName"],
    }


def _container(exit_code: int | None) -> ContainerBody | None:
    return None if exit_code is None else ContainerBody(exit_code, "Container Exited")


def _labels(job: Job) -> InstanceLabels | None:
    if job.node is None:
        return None
    region = Region(job.batch.region)
    return InstanceLabels(
        csp=region.cloud_provider.value,
        priority=job.batch.request["htcJobDefinition"]["priority"],
        instance_architecture=job.node_architecture or UNSET,
        region=region.value,
    )


def event_body(job: Job, ordinal: int, event: Event) -> EventBody:
    return EventBody(
        event_id=str(event_id(job.job_id, ordinal)),
        job_id=str(job.job_id),
        date_time=rfc3339(event.at),
        status=event.status,
        status_reason=event.reason,
        container=_container(event.exit_code),
        instance_labels=_labels(job) if event.node is not None else None,
        instance_id=event.node,
        user_cancelled_event=event.cancelled,
    )


def log_line(line: LogLine) -> LogLineBody:
    return LogLineBody(rfc3339_nanoseconds(line[0]), line[1])


def summary(group: str | None, counts: Counts) -> SummaryBody:
    return SummaryBody(group, StatusCounts(**{status.value: n for status, n in counts.items()}))
