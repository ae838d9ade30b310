"""What a submission of jobs consists of."""

import msgspec

from openhtc.domain.enums import Architecture, Priority


class Pair(msgspec.Struct, frozen=True):
    name: str
    value: str


class RetryStrategy(msgspec.Struct, rename="camel", omit_defaults=True):
    max_retries: int


class JobDefinition(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True):
    """What every job of a batch runs and needs; what is left out is decided by the service.

    max_memory is in MiB, exec_timeout_seconds counts the run time of one attempt.
    """

    image_name: str
    commands: list[str] = []
    envs: list[Pair] = []
    claims: list[Pair] = []
    max_vcpus: int | None = msgspec.field(default=None, name="maxVCpus")
    max_memory: int | None = None
    max_disk_gib: int | None = msgspec.field(default=None, name="maxDiskGiB")
    exec_timeout_seconds: int | None = None
    architecture: Architecture | None = None
    priority: Priority | None = None
    working_dir: str | None = None


class JobBatch(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True):
    """One definition and how many jobs of it, 1 to 1,000."""

    htc_job_definition: JobDefinition
    job_name: str | None = None
    batch_size: int | None = None
    regions: list[str] = []
    retry_strategy: RetryStrategy | None = None


class SubmittedBatch(msgspec.Struct, rename="camel"):
    """The service's answer: the jobs are ``<parent_job_id>:<index>``, index from 0 to batch_size - 1."""

    parent_job_id: str
    batch_size: int
    group: str
