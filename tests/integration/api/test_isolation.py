"""C37: nobody of another workspace reads, writes or learns of anything."""

import re

import pytest

from openhtc.api.app import create_app

from ...stack import Api, Json, Stack, Task, pages, shell
from .refusals import refused

BODIES: dict[str, object] = {
    "/tasks": {"taskName": "t", "taskDescription": ""},
    "/jobs/batch": [shell("true")],
    "/task-retention-policy": {"archiveAfter": 1, "deleteAfter": 1},
    "/limits": {"vCPUs": 1, "modifierRole": "PROJECT_ADMIN"},
    "/dimensions": [],
}
DEFAULTS: dict[str, object] = {"post": {}, "patch": {"lifecycleStatus": "ARCHIVED", "vCPUs": 1}}
"""Bodies that are accepted, where the path does not say which: members that mean nothing are ignored."""


def operations() -> list[tuple[str, str]]:
    """Every operation of the served description that is about one project, with its path."""
    described = create_app().openapi_schema.to_schema()["paths"]
    found = []
    for path, item in described.items():
        if "{project" in path:
            found += [
                (method, path) for method in item if method in ("get", "post", "put", "patch", "delete")
            ]
    return found


@pytest.fixture(scope="module")
def secret(alice_api: Api, project: Json) -> dict[str, str]:
    """Names of things in alice's workspace, for each path parameter."""
    task = alice_api.new_task(project["projectId"], "of alice")
    job = task.submit_one(shell("echo a secret"))
    task.wait_for(job, "SUCCEEDED")
    return {
        "project": project["projectId"],
        "task": task.task_id,
        "job": job,
        "image": "bb:v1",
        "repo": "stolen",
        "region": "AWS_US_WEST_2",
        "limit": "1",
    }


def fill(path: str, names: dict[str, str]) -> str:
    return re.sub(r"\{(project|task|job|image|repo|region|limit)\w*\}", lambda match: names[match[1]], path)


def attempt(api: Api, stack: Stack, method: str, path: str) -> None:
    body = next((found for end, found in BODIES.items() if path.endswith(end)), DEFAULTS.get(method))
    params = {"filePath": "x"} if path.endswith("presigned-url") else {}
    answer = api.request(method, stack.root_url + path, params=params, json=body)
    text = refused(answer, answer.status_code)
    assert answer.status_code in (403, 404), f"{method} {path}: {answer.status_code} {text}"
    assert "secret" not in text


@pytest.mark.parametrize(("method", "path"), operations(), ids=lambda value: value.replace("/", " ").strip())
def test_c37_every_operation(
    stack: Stack,
    stranger_api: Api,
    waiting_project: Json,
    secret: dict[str, str],
    method: str,
    path: str,
) -> None:
    assert "{" not in fill(path, secret), "a path parameter that this test does not know"
    attempt(stranger_api, stack, method, fill(path, secret))
    if "{task" in path:
        own = {**secret, "project": waiting_project["projectId"]}
        attempt(stranger_api, stack, method, fill(path, own))
    if "{job" in path:
        own_task = stranger_api.new_task(waiting_project["projectId"]).task_id
        attempt(stranger_api, stack, method, fill(path, {**own, "task": own_task}))


def test_c37_nothing_came_of_it(alice_api: Api, project: Json, secret: dict[str, str]) -> None:
    task = Task(alice_api, secret["project"], secret["task"])
    assert sum(task.counts().values()) == 1
    assert "stolen" not in alice_api.get(f"/htc/projects/{project['projectId']}").json()["repositories"]


def test_c37_listings(stranger_api: Api, alice_api: Api, waiting_project: Json) -> None:
    theirs = {item["projectId"] for item in pages(stranger_api, "/htc/projects", pageSize=1000)}
    ours = {item["projectId"] for item in pages(alice_api, "/htc/projects", pageSize=1000)}
    assert waiting_project["projectId"] in theirs
    assert not theirs & ours


def test_an_anonymous_caller_gets_nowhere(stack: Stack, anonymous: Api, secret: dict[str, str]) -> None:
    for method, path in operations():
        params = {"filePath": "x"} if path.endswith("presigned-url") else {}
        answer = anonymous.request(method, stack.root_url + fill(path, secret), params=params)
        assert answer.status_code == 401, f"{method} {path}: {answer.status_code}"
