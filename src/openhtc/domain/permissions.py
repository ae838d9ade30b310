"""Who may do what: the one table that decides, and the one question that is asked of it.

Whether the thing is in the caller's workspace, and for a job in its own project and task, is checked where the
thing is found (``services.access``); this table says who inside that reach may act.
"""

from enum import Flag, StrEnum, auto

from openhtc.domain.errors import Forbidden
from openhtc.domain.identity import Caller


class Who(Flag):
    """What a caller can be to the thing that an operation is about; one caller may be several."""

    MEMBER = auto()
    """Any user of the workspace."""
    OWNER = auto()
    """The user who made the thing: the project, the task, or the job."""
    ADMIN = auto()
    """Workspace admin, organization admin or operator."""
    JOB = auto()
    """A job's token; it acts for its owner, and yet is neither member nor owner here."""


class Operation(StrEnum):
    """What is done, in words that complete "may not ..."."""

    LIST_PROJECTS = "list projects"
    CREATE_PROJECT = "create projects"
    READ_PROJECT = "read the project"
    CHANGE_PROJECT = "change the project"
    READ_DIMENSIONS = "read dimensions"
    SET_DIMENSIONS = "set dimensions"
    READ_LIMITS = "read limits"
    SET_PROJECT_LIMIT = "set limits of the role PROJECT_ADMIN"
    SET_WORKSPACE_LIMIT = "set limits of the role WORKSPACE_ADMIN"
    READ_RETENTION = "read the retention policy"
    SET_PROJECT_RETENTION = "set the project's retention policy"
    SET_WORKSPACE_RETENTION = "set the workspace's retention policy"
    USE_REGISTRY = "use the container registry"
    USE_STORAGE = "use the storage"
    LIST_TASKS = "list tasks"
    CREATE_TASK = "create tasks"
    READ_TASK = "read the task"
    CHANGE_TASK = "archive, restore or delete the task"
    SUBMIT_JOBS = "submit jobs"
    READ_JOBS = "read jobs"
    READ_HISTORY = "read the job's events and logs"
    CANCEL_JOBS = "cancel these jobs"
    READ_WORKSPACE = "read regions, storage options, metrics and clusters"


_EVERYBODY = Who.MEMBER | Who.JOB
_OWNER_OR_ADMIN = Who.OWNER | Who.ADMIN

RULES = {
    Operation.LIST_PROJECTS: Who.MEMBER,
    Operation.CREATE_PROJECT: Who.MEMBER,
    Operation.READ_PROJECT: _EVERYBODY,
    Operation.CHANGE_PROJECT: _OWNER_OR_ADMIN,
    Operation.READ_DIMENSIONS: Who.MEMBER,
    Operation.SET_DIMENSIONS: Who.ADMIN,
    Operation.READ_LIMITS: Who.MEMBER,
    Operation.SET_PROJECT_LIMIT: Who.MEMBER,
    Operation.SET_WORKSPACE_LIMIT: Who.ADMIN,
    Operation.READ_RETENTION: Who.MEMBER,
    Operation.SET_PROJECT_RETENTION: _OWNER_OR_ADMIN,
    Operation.SET_WORKSPACE_RETENTION: Who.ADMIN,
    Operation.USE_REGISTRY: Who.MEMBER,
    Operation.USE_STORAGE: _EVERYBODY,
    Operation.LIST_TASKS: Who.MEMBER,
    Operation.CREATE_TASK: Who.MEMBER,
    Operation.READ_TASK: _EVERYBODY,
    Operation.CHANGE_TASK: _OWNER_OR_ADMIN,
    Operation.SUBMIT_JOBS: Who.MEMBER,
    Operation.READ_JOBS: _EVERYBODY,
    Operation.READ_HISTORY: _OWNER_OR_ADMIN | Who.JOB,
    Operation.CANCEL_JOBS: _OWNER_OR_ADMIN,
    Operation.READ_WORKSPACE: Who.MEMBER,
}


def role_of(caller: Caller, owner: str | None = None) -> Who:
    """What the caller is to a thing that ``owner`` made; None for things without an owner."""
    if caller.job is not None:
        return Who.JOB
    role = Who.MEMBER
    if caller.user.id == owner:
        role |= Who.OWNER
    if caller.user.administers_workspace:
        role |= Who.ADMIN
    return role


def may(caller: Caller, operation: Operation, owner: str | None = None) -> bool:
    return bool(RULES[operation] & role_of(caller, owner))


def permit(caller: Caller, operation: Operation, owner: str | None = None) -> None:
    """Raises Forbidden with what would have been needed."""
    if may(caller, operation, owner):
        return
    if caller.job is not None:
        raise Forbidden(f"a job's token may not {operation}")
    needed = " or ".join(str(who.name).lower() for who in RULES[operation])
    raise Forbidden(f"you may not {operation}: that takes the role {needed}")
