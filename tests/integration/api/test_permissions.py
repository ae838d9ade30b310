"""Every operation of the service's own description, asked by every identity."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from uuid import uuid4

import pytest

from openhtc.api.app import create_app

from ...stack import IMAGE, Api, Image, Stack, Task, ok, shell
from .identities import JOB_NAMES, REGION, Headers, Maker, made
from .permission_table import IDENTITIES, NOBODY, OWN_JOB, SWITCHED_OFF, TABLE, TASK_OWNER, Row, expected

_METHODS = ("get", "post", "put", "patch", "delete")
_NAMES = {
    "project_id": "project",
    "task_id": "task",
    "job_id": "job",
    "workspace_id": "workspace",
    "limit_id": "limit",
    "image_name": "image",
    "repo_name": "repo",
    "region": "region",
}


def described() -> set[str]:
    """Every operation of the description, with the path parameters named as in the table."""
    found = set()
    for path, item in create_app().openapi_schema.to_schema()["paths"].items():
        named = re.sub(r"\{(\w+)\}", lambda match: f"{{{_NAMES[match[1]]}}}", path.removeprefix("/api/v1"))
        found |= {f"{method.upper()} {named}" for method in item if method in _METHODS}
    return found


def operation_of(row: str) -> str:
    return row.partition(" (")[0]


@dataclass
class Matrix:
    """One project with a task and a job that waits, and everybody's headers."""

    ids: dict[str, str]
    headers: dict[str, Headers]
    client: Api
    workspace_limit: str = ""
    makers: dict[str, Api] = field(default_factory=dict)

    def api(self, name: str) -> Api:
        return self.makers[name]

    def ask(self, operation: str, row: Row, identity: str, **ids: str) -> tuple[int, str]:
        """The status and the code of the refusal, if it is one."""
        method, path = operation.split(" ")
        shown = self.headers[identity]
        header = shown.key if path in ("/auth/token", "/auth/whoami") else shown.bearer
        answer = self.client.request(
            method,
            path.format(**{**self.ids, **ids}),
            headers={} if header is None else {"Authorization": header},
            params=row.params,
            json=row.body,
            data=row.form,
        )
        refusal = answer.status_code >= 400
        return answer.status_code, answer.json()["error"] if refusal else ""


def bearer(headers: Headers) -> str:
    assert headers.bearer is not None
    return headers.bearer.removeprefix("Bearer ")


@pytest.fixture(scope="module")
def matrix(stack: Stack, busybox_image: Image) -> Iterator[Matrix]:
    workspace, users, headers = made(stack, Maker.people)
    makers = {
        name: Api(stack, bearer(headers[name]))
        for name in ("maker of the project", "maker of the task", "job owner", "workspace admin")
    }
    founder, tasker, submitter = list(makers.values())[:3]
    project, foreign = (founder.new_project(name)["projectId"] for name in ("matrix", "matrix foreign"))
    for place in (project, foreign):
        founder.push(ok(founder.get(f"/htc/projects/{place}")), busybox_image, IMAGE)
    task, sibling = (tasker.new_task(project, name).task_id for name in ("main", "sibling"))
    places = [(project, task), (project, sibling), (foreign, tasker.new_task(foreign).task_id)]
    places.append((project, tasker.new_task(project, "ended").task_id))
    parents = {}
    for name, (of, within) in zip(JOB_NAMES, places, strict=True):
        submitted = Task(submitter, of, within).submit(shell("true"))
        parents[name] = of, within, str(submitted[0]["parentJobId"])
    Task(submitter, *places[3]).cancel()
    headers |= made(stack, lambda maker: maker.jobs(users["job owner"], parents))
    headers |= made(stack, lambda maker: maker.nobody(users["member"], project))
    ids = {
        "project": project,
        "task": task,
        "job": f"{parents[OWN_JOB][2]}:0",
        "workspace": workspace,
        "limit": "2147483647",
        "image": IMAGE,
        "repo": "matrix/repo",
        "region": REGION.value,
    }
    with Api(stack, "") as client:
        yield Matrix(ids, headers, client, makers=makers)
    for of, within, _ in parents.values():
        Task(makers["workspace admin"], of, within).cancel()
    for api in makers.values():
        api.close()


def more_ids(matrix: Matrix, row: str, identity: str) -> dict[str, str]:
    """What a row needs beside the common things."""
    if row.startswith("DELETE") and row.endswith("/tasks/{task}") and identity in TASK_OWNER:
        fresh = matrix.api("maker of the task").new_task(matrix.ids["project"], f"deleted by {identity}")
        return {"task": fresh.task_id}
    if row.endswith("/limits/{limit} (WORKSPACE_ADMIN)"):
        body = {"vCPUs": 999, "modifierRole": "WORKSPACE_ADMIN"}
        limits = f"/htc/projects/{matrix.ids['project']}/limits"
        return {"limit": str(matrix.api("workspace admin").post(limits, json=body).json()["id"])}
    return {}


def test_the_table_knows_every_operation() -> None:
    table = {operation_of(row) for row in TABLE}
    assert len(table) == 57
    assert described() == table


def test_there_is_somebody_for_every_column(matrix: Matrix) -> None:
    assert sorted(matrix.headers) == IDENTITIES


@pytest.mark.parametrize("row", TABLE)
def test_every_identity(matrix: Matrix, row: str) -> None:
    wrong = []
    for identity in IDENTITIES:
        status, code = matrix.ask(operation_of(row), TABLE[row], identity, **more_ids(matrix, row, identity))
        wanted = expected(TABLE[row], identity)
        if status not in wanted:
            wrong.append(f"{identity}: {status} {code}, expected {' or '.join(map(str, wanted))}")
        if identity == SWITCHED_OFF and status == 403:
            assert code == "HTC_DISABLED"
    clear_limits(matrix)
    assert not wrong, "\n".join([row, *wrong])


def clear_limits(matrix: Matrix) -> None:
    """A limit that is left would refuse members what they may do without it."""
    limits = f"/htc/projects/{matrix.ids['project']}/limits"
    assert matrix.api("workspace admin").delete(limits).status_code == 204


@pytest.mark.parametrize("name", ["project", "task", "workspace"])
def test_what_does_not_exist(matrix: Matrix, name: str) -> None:
    """404 for those who may ask, whatever they hold; 401 for the others, who learn nothing."""
    rows = [row for row in TABLE if f"{{{name}}}" in row]
    wrong = []
    for row in rows:
        for identity in ("maker of the project", "operator", "no token", "disabled user"):
            status, _ = matrix.ask(operation_of(row), TABLE[row], identity, **{name: str(uuid4())})
            wanted = 401 if identity in NOBODY else 404
            if status != wanted and not (status == 403 and identity not in TABLE[row].allowed):
                wrong.append(f"{row} as {identity}: {status}, expected {wanted}")
    assert rows and not wrong, "\n".join(wrong)
