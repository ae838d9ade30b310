"""P25 and P32: dimensions as their users meet them."""

from collections.abc import Iterator

import pytest

from ...stack import Api, Json, Stack, Task, User, batch, ok, shell, wait_until
from .refusals import refused


@pytest.fixture
def path(alice_api: Api) -> str:
    made = alice_api.new_project("held to dimensions")
    return f"/htc/projects/{made['projectId']}/dimensions"


def put(api: Api, path: str, *entries: Json) -> list[Json]:
    answer = api.put(path, json=list(entries))
    assert answer.status_code == 201, answer.text
    found: list[Json] = answer.json()
    return found


def test_p25_members_read_and_admins_set(alice_api: Api, wanda_api: Api, path: str) -> None:
    assert ok(alice_api.get(path)) == []
    full = {
        "machineType": "t2d-standard-16",
        "priority": "ON_DEMAND_ECONOMY",
        "region": "AWS_US_WEST_2",
        "computeScalingPolicy": "OPTIMIZE_UTILIZATION",
        "hyperthreading": False,
    }
    refused(alice_api.put(path, json=[full]), 403, "FORBIDDEN")
    assert ok(alice_api.get(path)) == []
    entries = [full, {}, {"hyperthreading": True}]
    assert put(wanda_api, path, *entries) == entries
    assert ok(alice_api.get(path)) == entries
    assert put(wanda_api, path) == []
    assert ok(alice_api.get(path)) == []


def test_what_a_machine_type_is_comes_from_its_nodes(wanda_api: Api, path: str, stack: Stack) -> None:
    clusters = ok(wanda_api.get(f"/htc/gcp/clusters/{stack.credentials['workspace_id']}"))
    own = clusters["clusters"][0]["nodePools"][0]["instanceType"]
    assert own.startswith("local-") and own.endswith(f"-{stack.vcpus}")
    claimed = {"architecture": "A100", "vCPUs": 512, "memory": "a lot"}
    known, unknown = put(
        wanda_api, path, {"machineType": own, "derived": claimed}, {"machineType": "none", "derived": claimed}
    )
    assert unknown == {"machineType": "none"}
    assert known["derived"]["vCPUs"] == stack.vcpus
    assert known["derived"]["architecture"].lower() == own.split("-")[1]
    assert 0 < known["derived"]["memory"] < 1e5
    assert ok(wanda_api.get(path)) == [known, unknown]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ([{}, {"region": "MARS"}], '[1].region: "MARS" is none of AWS_AP_SOUTHEAST_1, '),
        ([{"priority": "URGENT"}], '[0].priority: "URGENT" is none of ON_DEMAND_PRIORITY, '),
        ([{"computeScalingPolicy": "FAST"}], '[0].computeScalingPolicy: "FAST" is none of '),
        ([{"hyperthreading": "yes"}], '[0].hyperthreading: "yes" is of type str, expected bool'),
        ([{"machineType": ""}], '[0].machineType: ""'),
        ([{"machineType": "x" * 129}], "[0].machineType: "),
        ([{"machineType": "a\0b"}], "[0].machineType: "),
        ([{"machineType": None}], "[0].machineType: null"),
        ([{}] * 101, "the body has 101 entries, at most 100"),
        ({"machineType": "small"}, "the body: "),
        (["small"], '[0]: "small"'),
    ],
)
def test_refused_entries(wanda_api: Api, path: str, body: object, words: str) -> None:
    kept = put(wanda_api, path, {"machineType": "kept"})
    assert words in refused(wanda_api.put(path, json=body), 400, "INVALID_REQUEST")
    assert ok(wanda_api.get(path)) == kept


def test_p32_the_workspaces_dimensions(
    alice_api: Api, alice: User, stranger_api: Api, other_workspace: str
) -> None:
    assert ok(alice_api.get(f"/htc/workspaces/{alice.workspace_id}/dimensions")) == []
    for workspace in (alice.workspace_id, "99-9999999"):
        status = 403 if workspace == alice.workspace_id else 404
        refused(stranger_api.get(f"/htc/workspaces/{workspace}/dimensions"), status)
    refused(alice_api.get(f"/htc/workspaces/{other_workspace}/dimensions"), 403)
    refused(alice_api.put(f"/htc/workspaces/{alice.workspace_id}/dimensions", json=[]), 405)


def test_other_workspaces_and_jobs_are_refused(
    stranger_api: Api, anonymous: Api, path: str, task: Task, alice: User, stack: Stack
) -> None:
    refused(stranger_api.get(path), 403)
    refused(stranger_api.put(path, json=[]), 403)
    refused(anonymous.get(path), 401)
    job = task.submit_one(shell("echo token $RESCALE_HTC_BEARER_TOKEN; sleep 300"))
    lines = wait_until(lambda: task.log(job), bool, 60)
    with Api(stack, lines[0].removeprefix("token ")) as api:
        own = f"/htc/projects/{task.project_id}/dimensions"
        refused(api.get(own), 403)
        refused(api.put(own, json=[]), 403)
        refused(api.get(f"/htc/workspaces/{alice.workspace_id}/dimensions"), 403)
        refused(api.get(f"/htc/gcp/clusters/{alice.workspace_id}"), 403)


@pytest.fixture
def held(project: Json, wanda_api: Api) -> Iterator[str]:
    """The path of the dimensions of the project that has an image; they are cleared afterwards."""
    path = f"/htc/projects/{project['projectId']}/dimensions"
    yield path
    put(wanda_api, path)


def test_jobs_wait_for_nodes_that_the_dimensions_allow(wanda_api: Api, task: Task, held: str) -> None:
    put(wanda_api, held, {"machineType": "not here"})
    job = task.submit_one(batch("true"))
    said = wait_until(lambda: task.job(job), lambda found: found["statusReason"] is not None, 20)
    assert said["status"] == "RUNNABLE"
    assert "the dimensions allow no live node" in said["statusReason"]
    assert [item["statusReason"] for item in task.jobs(viewType="SIMPLE")] == [said["statusReason"]]
    put(wanda_api, held, {"priority": "ON_DEMAND_PRIORITY"}, {"machineType": "not here"})
    assert task.wait_for(job, "SUCCEEDED")["statusReason"] != said["statusReason"]


def test_a_job_that_is_too_large_says_so(task: Task, stack: Stack) -> None:
    large = task.submit_one(batch("true", maxVCpus=64))
    words = f"has 64 vCPUs, the largest has {stack.vcpus}"
    said = wait_until(lambda: task.job(large), lambda found: words in (found["statusReason"] or ""), 20)
    assert said["status"] == "RUNNABLE"
    assert all(event["statusReason"] is None for event in task.events(large))
