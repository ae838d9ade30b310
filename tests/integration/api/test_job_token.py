"""C32: what the token inside a job opens, and for how long."""

from collections.abc import Iterator
from typing import NamedTuple

import httpx
import pytest

from ...stack import Api, Json, Stack, Task, ok, shell, wait_until
from .refusals import refused

SCRIPT = 'echo "$RESCALE_HTC_BEARER_TOKEN"; echo "$RESCALE_HTC_REFRESH_TOKEN"; sleep 300'


class Inside(NamedTuple):
    """What a running job holds."""

    task: Task
    job_id: str
    api: Api
    refresh: str


@pytest.fixture
def inside(stack: Stack, task: Task) -> Iterator[Inside]:
    element = shell(SCRIPT, claims=[{"name": "shift", "value": "night"}])
    job_id = task.submit_one(element)
    bearer, refresh = wait_until(lambda: task.log(job_id), lambda lines: len(lines) == 2, 60)
    with Api(stack, bearer) as api:
        yield Inside(task, job_id, api, refresh)


def exchange(stack: Stack, refresh: str) -> httpx.Response:
    headers = {"Authorization": f"Refresh {refresh}"}
    return httpx.get(f"{stack.base_url}/auth/token", headers=headers, trust_env=False)


def test_c32_reach_of_a_jobs_token(stack: Stack, inside: Inside, alice_api: Api, project: Json) -> None:
    own = f"/htc/projects/{project['projectId']}"
    task = inside.task.path
    claims = ok(inside.api.get("/auth/token/whoami"))
    assert claims["userDefined_shift"] == "night"
    for path in (
        own,
        task,
        f"{own}/storage/token",
        f"{task}/storage/token",
        f"{task}/storage/presigned-url?filePath=a",
        f"{task}/jobs",
        f"{task}/jobs/{inside.job_id}",
        f"{task}/jobs/{inside.job_id}/events",
        f"{task}/jobs/{inside.job_id}/logs",
        f"{task}/summary-statistics",
        f"{task}/group-summary-statistics",
        f"{task}/groups",
    ):
        assert inside.api.get(path).status_code == 200, path


def test_c32_what_it_does_not_reach(inside: Inside, alice_api: Api, project: Json) -> None:
    other = alice_api.new_project("another one")["projectId"]
    sibling = alice_api.new_task(project["projectId"], "a sibling")
    own = f"/htc/projects/{project['projectId']}"
    for path in (
        "/htc/projects",
        f"/htc/projects/{other}",
        f"/htc/projects/{other}/tasks",
        f"/htc/projects/{other}/storage/token",
        f"{own}/tasks",
        f"{own}/container-registry/token",
        f"{own}/container-registry/images",
        sibling.path,
        f"{sibling.path}/jobs",
        f"{sibling.path}/storage/token",
        f"{sibling.path}/summary-statistics",
    ):
        refused(inside.api.get(path), 403, "FORBIDDEN")
    for path, body in (
        ("/htc/projects", {"projectName": "p", "projectDescription": ""}),
        (f"{own}/tasks", {"taskName": "t", "taskDescription": ""}),
        (f"{own}/container-registry/repo/mine", {}),
        (f"{inside.task.path}/jobs/batch", [shell("true")]),
        (f"{inside.task.path}/jobs/cancel", {}),
    ):
        refused(inside.api.post(path, json=body), 403, "FORBIDDEN")
    assert sum(inside.task.counts().values()) == 1


def test_c32_refreshed_tokens_reach_no_further(stack: Stack, inside: Inside) -> None:
    found = exchange(stack, inside.refresh)
    assert found.status_code == 200
    with Api(stack, found.json()["tokenValue"]) as api:
        assert ok(api.get("/auth/token/whoami"))["userDefined_shift"] == "night"
        ok(api.get(inside.task.path))
        refused(api.get("/htc/projects"), 403)
    changed = inside.refresh[:-1] + ("0" if inside.refresh[-1] != "0" else "1")
    refused(exchange(stack, changed), 401)


def test_c32_refused_when_the_job_has_ended(stack: Stack, inside: Inside) -> None:
    ok(inside.api.get(inside.task.path))
    inside.task.cancel()
    inside.task.wait_for(inside.job_id, "FAILED", 30)
    refused(inside.api.get(inside.task.path), 401, "UNAUTHORIZED")
    refused(inside.api.get("/auth/token/whoami"), 401, "UNAUTHORIZED")
    refused(exchange(stack, inside.refresh), 401, "UNAUTHORIZED")
