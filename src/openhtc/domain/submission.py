"""What a user submits: the request of one batch, as it travels and as it is kept.

Ranges and patterns are those of the public API description; msgspec checks them while decoding.
"""

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType, field

from openhtc.domain.enums import Architecture, CloudProvider, Priority
from openhtc.domain.names import ENV_NAME_PATTERN, IMAGE_PATTERN
from openhtc.domain.regions import Region

MAX_BATCHES = 100
"""Elements of one submission."""

_READ_ONLY = Meta(extra_json_schema={"readOnly": True})
_WRITE_ONLY = Meta(extra_json_schema={"writeOnly": True})
ReadOnlyText = Annotated[str | UnsetType, _READ_ONLY]


class EnvPair(Struct, frozen=True):
    name: Annotated[str, Meta(pattern=ENV_NAME_PATTERN)]
    value: str


class ClaimPair(Struct, frozen=True):
    name: str
    value: str


class Tag(Struct, frozen=True):
    key: str | UnsetType = UNSET
    value: str | UnsetType = UNSET


class RetryStrategy(Struct, frozen=True, rename="camel"):
    max_retries: Annotated[int, Meta(ge=0, le=10)] = 0


class Experimental(Struct, frozen=True, rename="camel"):
    """Accepted for the sake of clients; all of it concerns other back ends."""

    kubernetes_swap: bool | UnsetType = UNSET
    cloud_file_systems: bool | UnsetType = UNSET
    rescale_files_rdf_agent: bool | UnsetType = field(default=UNSET, name="rescaleFilesRDFAgent")
    privileged_mode: bool | UnsetType = UNSET


class JobDefinition(Struct, frozen=True, rename="camel"):
    """What every job of the batch runs, and with what."""

    image_name: Annotated[str, Meta(min_length=1, pattern=IMAGE_PATTERN, examples=["bb:v1"])]
    max_vcpus: Annotated[int, Meta(ge=1, le=64)] = field(default=1, name="maxVCpus")
    max_memory: Annotated[int, Meta(ge=4, le=235520, description="MiB")] = 4000
    max_disk_gib: Annotated[int, Meta(ge=0, le=64000)] = field(default=10, name="maxDiskGiB")
    max_swap: Annotated[int, Meta(ge=0, description="Has no effect")] = 0
    tags: dict[str, str] | UnsetType = UNSET
    commands: Annotated[list[str], Meta(examples=[["sh", "-c", "echo $AWS_BATCH_JOB_ARRAY_INDEX"]])] = []
    envs: list[EnvPair] = []
    claims: list[ClaimPair] = []
    exec_timeout_seconds: Annotated[int, Meta(ge=60, le=1209600)] = 1209600
    architecture: Architecture | UnsetType = UNSET
    priority: Priority = Priority.ON_DEMAND_PRIORITY
    working_dir: str | None | UnsetType = UNSET


class JobSubmitRequest(Struct, frozen=True, rename="camel"):
    """One element of a submission, and of its answer, where the read-only members are filled in."""

    htc_job_definition: JobDefinition
    job_name: str | UnsetType = UNSET
    batch_size: Annotated[int, Meta(ge=1, le=1000)] = 1
    regions: Annotated[list[Region] | UnsetType, _WRITE_ONLY] = UNSET
    region: Annotated[Region | UnsetType, _WRITE_ONLY] = UNSET
    """What an older client sends instead of regions."""
    cloud_provider: CloudProvider | UnsetType = UNSET
    tags: list[Tag] | UnsetType = UNSET
    retry_strategy: RetryStrategy | UnsetType = UNSET
    experimental: Experimental | UnsetType = UNSET
    rescale_project_id: str | None | UnsetType = UNSET
    task_id: ReadOnlyText = UNSET
    project_id: ReadOnlyText = UNSET
    parent_job_id: ReadOnlyText = UNSET
    created_by: ReadOnlyText = UNSET
    workspace_id: ReadOnlyText = UNSET
    group: ReadOnlyText = UNSET
    rescale_time_received: Annotated[
        str | UnsetType, Meta(extra_json_schema={"readOnly": True, "format": "date-time"})
    ] = UNSET
    job_definition_name: ReadOnlyText = UNSET

    @property
    def max_retries(self) -> int:
        strategy = self.retry_strategy
        return 0 if isinstance(strategy, UnsetType) else strategy.max_retries


StoredRequest = dict[str, Any]
"""A JobSubmitRequest as JSON."""
