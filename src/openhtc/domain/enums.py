"""The closed sets of names that the API, the database and the agents exchange."""

from enum import IntEnum, StrEnum


class JobStatus(StrEnum):
    """Where a job is in its life; the last two real ones are terminal.

    POD_SUCCEEDED and POD_FAILED are accepted as filter values and never produced.
    """

    SUBMITTED_TO_RESCALE = "SUBMITTED_TO_RESCALE"
    SUBMITTED_TO_PROVIDER = "SUBMITTED_TO_PROVIDER"
    RUNNABLE = "RUNNABLE"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    POD_SUCCEEDED = "POD_SUCCEEDED"
    POD_FAILED = "POD_FAILED"

    @property
    def is_terminal(self) -> bool:
        return self in (JobStatus.SUCCEEDED, JobStatus.FAILED)


class StatusCode(IntEnum):
    """How the database writes a JobStatus: two bytes a job instead of a word."""

    SUBMITTED_TO_RESCALE = 0
    SUBMITTED_TO_PROVIDER = 1
    RUNNABLE = 2
    STARTING = 3
    RUNNING = 4
    SUCCEEDED = 5
    FAILED = 6

    @property
    def status(self) -> JobStatus:
        return JobStatus(self.name)


class FailureCode(StrEnum):
    """Why a job ended FAILED, as the API names it."""

    UNKNOWN_FAILURE = "ErrorUnknownFailure"
    TIMEOUT = "ErrorTimeout"
    NOT_ENOUGH_MEMORY = "ErrorNotEnoughMemory"
    NON_ZERO_EXIT = "ErrorNonZeroContainerExitCode"
    COST_EXCEEDED = "ErrorCostExceeded"
    INFRASTRUCTURE_FAULT = "ErrorInfrastructureFault"
    INSTANCE_TERMINATION = "ErrorInstanceTermination"
    STARTING_CONTAINER = "ErrorStartingContainer"
    PROVIDER_DOWN = "ErrorProviderDown"
    PROVIDER_REGION_DOWN = "ErrorProviderRegionDown"


class Outcome(StrEnum):
    """How one attempt ended, as the agent that ran it saw it."""

    EXITED = "EXITED"
    """The program ended by itself; the exit code says how."""
    TIMED_OUT = "TIMED_OUT"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    DISK_FULL = "DISK_FULL"
    CANNOT_START = "CANNOT_START"
    """The image, the command or the working directory made a start impossible."""
    CANCELLED = "CANCELLED"
    """Stopped because the server asked for it."""
    HANDED_BACK = "HANDED_BACK"
    """Not run to its end because the node is leaving; costs the job nothing."""
    PREEMPTED = "PREEMPTED"
    """Stopped to make room for a job of a higher priority; costs the job nothing."""
    NODE_LOST = "NODE_LOST"
    """The lease expired: nobody knows how the attempt ended. Said by the server, never by an agent."""
    NODE_FAULT = "NODE_FAULT"
    """The node could not do its part, for instance set up a namespace; costs the job nothing."""


class Priority(StrEnum):
    ON_DEMAND_PRIORITY = "ON_DEMAND_PRIORITY"
    ON_DEMAND_ECONOMY = "ON_DEMAND_ECONOMY"


class Architecture(StrEnum):
    AARCH64 = "AARCH64"
    X86 = "X86"
    A100 = "A100"


class CloudProvider(StrEnum):
    AWS = "AWS"
    GCP = "GCP"
    NGC = "NGC"
    AZURE = "AZURE"
    RC = "RC"
    COREWEAVE = "COREWEAVE"
    UNASSIGNED = "UNASSIGNED"


class LifecycleStatus(StrEnum):
    DELETED = "DELETED"
    ACTIVE = "ACTIVE"
    ARCHIVED = "ARCHIVED"


class ModifierRole(StrEnum):
    """Who may change a project's limit."""

    WORKSPACE_ADMIN = "WORKSPACE_ADMIN"
    PROJECT_ADMIN = "PROJECT_ADMIN"


class ViewType(StrEnum):
    FULL = "FULL"
    SIMPLE = "SIMPLE"


class ImageState(StrEnum):
    READY = "READY"
    PENDING = "PENDING"


class SortOrder(StrEnum):
    ASC = "asc"
    DESC = "desc"
