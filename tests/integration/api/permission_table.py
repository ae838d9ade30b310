"""Who may do what: every operation, every identity. Written from what the service promises, not from its code."""

from dataclasses import dataclass, field
from typing import Any

ADMINS = {"workspace admin", "organization admin", "operator"}
PEOPLE = {"maker of the project", "maker of the task", "job owner", "member"} | ADMINS
"""Users of the workspace."""
ELSEWHERE = {"member of another workspace", "admin of another workspace"}
OWN_JOB, SIBLING_JOB, FOREIGN_JOB = "job of the task", "job of another task", "job of another project"
SWITCHED_OFF = "user of a workspace without HTC"
NOBODY = {
    "no token",
    "garbage",
    "expired token",
    "wrong signature",
    "alg none",
    "unknown kid",
    "another issuer",
    "revoked key",
    "expired key",
    "key and token exchanged",
    "key and token under the wrong scheme",
    "registry token",
    "agent token",
    "agent key",
    "metrics key",
    "ended job",
    "disabled user",
}
"""Answered with 401 wherever anybody is asked who they are."""
KNOWN = PEOPLE | ELSEWHERE | {OWN_JOB, SIBLING_JOB, FOREIGN_JOB, SWITCHED_OFF}
IDENTITIES = sorted(KNOWN | NOBODY)

EVERYBODY = frozenset(KNOWN | NOBODY)
KEY_HOLDERS = frozenset(KNOWN)
TOKEN_HOLDERS = frozenset(KNOWN - {SWITCHED_OFF})
ANY_USER = frozenset(PEOPLE | ELSEWHERE)
"""Of things that everybody has of their own, like the list of projects."""
MEMBER = frozenset(PEOPLE)
MEMBER_OR_PROJECTS_JOB = frozenset(PEOPLE | {OWN_JOB, SIBLING_JOB})
MEMBER_OR_TASKS_JOB = frozenset(PEOPLE | {OWN_JOB})
ADMIN = frozenset(ADMINS)
PROJECT_OWNER = frozenset(ADMINS | {"maker of the project"})
TASK_OWNER = frozenset(ADMINS | {"maker of the task"})
HISTORY = frozenset(ADMINS | {"job owner", OWN_JOB})
CANCEL = frozenset(ADMINS | {"job owner", "maker of the task"})


@dataclass(frozen=True)
class Row:
    """``status``: the answers that an allowed request may get; they are cheap rather than successful."""

    allowed: frozenset[str]
    status: tuple[int, ...] = (200,)
    body: Any = None
    params: dict[str, str] = field(default_factory=dict)
    form: dict[str, str] | None = None


PROJECT = "/htc/projects/{project}"
TASK = PROJECT + "/tasks/{task}"
JOB = TASK + "/jobs/{job}"
LIMIT = PROJECT + "/limits/{limit}"
WORKSPACE = "/htc/workspaces/{workspace}"
_FILE = {"filePath": "a.txt"}
_NEVER = {"archiveAfter": 0, "deleteAfter": 0}
_NO_IMAGE = [{"htcJobDefinition": {"imageName": "none:v1"}}]

TABLE = {
    "GET /.well-known/jwks.json": Row(EVERYBODY),
    "POST /oauth2/token": Row(EVERYBODY, (400,), form={"grant_type": "none"}),
    "GET /auth/token": Row(KEY_HOLDERS),
    "GET /auth/whoami": Row(KEY_HOLDERS),
    "GET /auth/token/whoami": Row(TOKEN_HOLDERS),
    "GET /htc/gcp/clusters/{workspace}": Row(MEMBER),
    "GET /htc/regions": Row(ANY_USER),
    "GET /htc/regions/{region}": Row(ANY_USER),
    "GET /htc/metrics": Row(ANY_USER),
    "GET /htc/storage": Row(ANY_USER),
    "GET /htc/storage/region/{region}": Row(ANY_USER, (200, 404)),
    "GET /htc/projects": Row(ANY_USER),
    "POST /htc/projects": Row(ANY_USER, body={"projectName": "p", "projectDescription": ""}),
    f"GET {PROJECT}": Row(MEMBER_OR_PROJECTS_JOB),
    f"PATCH {PROJECT}": Row(PROJECT_OWNER, body={"regions": ["AWS_US_EAST_1"]}),
    f"GET {PROJECT}/dimensions": Row(MEMBER),
    f"PUT {PROJECT}/dimensions": Row(ADMIN, (201,), body=[]),
    f"GET {PROJECT}/limits": Row(MEMBER),
    f"POST {PROJECT}/limits": Row(MEMBER, (201,), body={"vCPUs": 999, "modifierRole": "PROJECT_ADMIN"}),
    f"POST {PROJECT}/limits (WORKSPACE_ADMIN)": Row(
        ADMIN, (201,), body={"vCPUs": 999, "modifierRole": "WORKSPACE_ADMIN"}
    ),
    f"DELETE {PROJECT}/limits": Row(MEMBER, (204,)),
    f"GET {LIMIT}": Row(MEMBER, (404,)),
    f"PATCH {LIMIT}": Row(MEMBER, (404,), body={"vCPUs": 9}),
    f"DELETE {LIMIT}": Row(MEMBER, (404,)),
    f"GET {LIMIT} (WORKSPACE_ADMIN)": Row(MEMBER),
    f"PATCH {LIMIT} (WORKSPACE_ADMIN)": Row(ADMIN, body={"vCPUs": 999}),
    f"GET {PROJECT}/storage/presigned-url": Row(MEMBER_OR_PROJECTS_JOB, params=_FILE),
    f"GET {PROJECT}/storage/token": Row(MEMBER_OR_PROJECTS_JOB),
    f"GET {PROJECT}/storage/token/{{region}}": Row(MEMBER_OR_PROJECTS_JOB),
    f"GET {PROJECT}/storage/tokens": Row(MEMBER_OR_PROJECTS_JOB),
    f"GET {PROJECT}/task-retention-policy": Row(MEMBER, (200, 404)),
    f"PUT {PROJECT}/task-retention-policy": Row(PROJECT_OWNER, (201,), body=_NEVER),
    f"DELETE {PROJECT}/task-retention-policy": Row(PROJECT_OWNER, (204, 404)),
    f"GET {PROJECT}/container-registry/images": Row(MEMBER),
    f"GET {PROJECT}/container-registry/images/{{image}}": Row(MEMBER),
    f"POST {PROJECT}/container-registry/repo/{{repo}}": Row(MEMBER),
    f"GET {PROJECT}/container-registry/token": Row(MEMBER),
    f"GET {PROJECT}/tasks": Row(MEMBER),
    f"POST {PROJECT}/tasks": Row(MEMBER, body={"taskName": "t", "taskDescription": ""}),
    f"GET {TASK}": Row(MEMBER_OR_TASKS_JOB),
    f"PATCH {TASK}": Row(TASK_OWNER, (400,), body={"lifecycleStatus": "ACTIVE"}),
    f"DELETE {TASK}": Row(TASK_OWNER),
    f"GET {TASK}/group-summary-statistics": Row(MEMBER_OR_TASKS_JOB),
    f"GET {TASK}/groups": Row(MEMBER_OR_TASKS_JOB),
    f"GET {TASK}/storage/presigned-url": Row(MEMBER_OR_TASKS_JOB, params=_FILE),
    f"GET {TASK}/storage/regional-storage": Row(MEMBER_OR_TASKS_JOB),
    f"GET {TASK}/storage/token": Row(MEMBER_OR_TASKS_JOB),
    f"GET {TASK}/storage/token/{{region}}": Row(MEMBER_OR_TASKS_JOB),
    f"GET {TASK}/storage/tokens": Row(MEMBER_OR_TASKS_JOB),
    f"GET {TASK}/summary-statistics": Row(MEMBER_OR_TASKS_JOB),
    f"GET {TASK}/jobs": Row(MEMBER_OR_TASKS_JOB),
    f"POST {TASK}/jobs/batch": Row(MEMBER, (400,), body=_NO_IMAGE),
    f"POST {TASK}/jobs/cancel": Row(CANCEL, params={"group": "of nobody"}),
    f"GET {JOB}": Row(MEMBER_OR_TASKS_JOB),
    f"GET {JOB}/events": Row(HISTORY),
    f"GET {JOB}/logs": Row(HISTORY),
    f"GET {WORKSPACE}/dimensions": Row(MEMBER),
    f"GET {WORKSPACE}/limits": Row(MEMBER, (404,)),
    f"GET {WORKSPACE}/task-retention-policy": Row(MEMBER, (200, 404)),
    f"PUT {WORKSPACE}/task-retention-policy": Row(ADMIN, (201,), body=_NEVER),
}


def expected(row: Row, identity: str) -> tuple[int, ...]:
    """The statuses that an identity may get."""
    if identity in row.allowed:
        return row.status
    return (401,) if identity in NOBODY else (403,)
