"""C18 to C24: what a submission answers and what it refuses."""

import time
from typing import Any
from uuid import UUID

import pytest

from ...stack import STATUSES, Api, Json, Task, batch, ok
from .refusals import refused

OUTSIDE_THE_LIMITS = [
    ({"batchSize": 0}, "batchSize: 0 is below 1"),
    ({"batchSize": 1001}, "batchSize: 1001 is above 1000"),
    ({"maxVCpus": 0}, "htcJobDefinition.maxVCpus: 0 is below 1"),
    ({"maxVCpus": 65}, "htcJobDefinition.maxVCpus: 65 is above 64"),
    ({"maxMemory": 3}, "htcJobDefinition.maxMemory: 3 is below 4"),
    ({"maxMemory": 235521}, "htcJobDefinition.maxMemory: 235521 is above 235520"),
    ({"maxDiskGiB": -1}, "htcJobDefinition.maxDiskGiB: -1 is below 0"),
    ({"maxDiskGiB": 64001}, "htcJobDefinition.maxDiskGiB: 64001 is above 64000"),
    ({"maxSwap": -1}, "htcJobDefinition.maxSwap: -1 is below 0"),
    ({"execTimeoutSeconds": 59}, "htcJobDefinition.execTimeoutSeconds: 59 is below 60"),
    ({"execTimeoutSeconds": 1209601}, "htcJobDefinition.execTimeoutSeconds: 1209601 is above 1209600"),
    ({"retryStrategy": {"maxRetries": -1}}, "retryStrategy.maxRetries: -1 is below 0"),
    ({"retryStrategy": {"maxRetries": 11}}, "retryStrategy.maxRetries: 11 is above 10"),
    ({"imageName": ""}, "htcJobDefinition.imageName"),
    ({"imageName": "UPPER"}, 'htcJobDefinition.imageName: "UPPER" does not match'),
    ({"imageName": "host:5000/a"}, "htcJobDefinition.imageName"),
    ({"imageName": "no/such:image"}, "htcJobDefinition.imageName"),
    ({"regions": ["AWS_US_EAST_1", "AWS_US_EAST_1"]}, "regions"),
    ({"regions": ["AWS_US_WEST_2"]}, "regions: AWS_US_WEST_2"),
    ({"regions": ["MARS"]}, 'regions[0]: "MARS"'),
    ({"region": "AWS_US_WEST_2"}, "AWS_US_WEST_2"),
    ({"maxVCpus": "two"}, 'htcJobDefinition.maxVCpus: "two" is of type str, expected int'),
    ({"maxVCpus": 1.5}, "htcJobDefinition.maxVCpus: 1.5"),
    ({"commands": "echo"}, 'htcJobDefinition.commands: "echo" is of type str'),
    ({"commands": ["a", None]}, "htcJobDefinition.commands[1]: null"),
    ({"workingDir": "here"}, "htcJobDefinition.workingDir"),
    ({"architecture": "Z80"}, 'htcJobDefinition.architecture: "Z80"'),
    ({"priority": "NOW"}, 'htcJobDefinition.priority: "NOW"'),
    ({"jobName": "a\0b"}, "jobName: contains NUL"),
    ({"commands": ["x" * 131072]}, "htcJobDefinition.commands[0]: 131073 bytes"),
    ({"commands": ["x" * 1000] * 1000}, "htcJobDefinition.commands: 1001000 bytes in all"),
    ({"envs": [{"name": "BIG", "value": "x" * 131072}]}, "htcJobDefinition.envs[0]"),
]
AT_THE_LIMITS = [
    {"batchSize": 1},
    {"batchSize": 1000},
    {"maxVCpus": 1},
    {"maxVCpus": 64},
    {"maxMemory": 4},
    {"maxMemory": 235520},
    {"maxDiskGiB": 0},
    {"maxDiskGiB": 64000},
    {"maxSwap": 0},
    {"execTimeoutSeconds": 60},
    {"execTimeoutSeconds": 1209600},
    {"retryStrategy": {"maxRetries": 0}},
    {"retryStrategy": {"maxRetries": 10}},
    {"regions": []},
    {"regions": ["AWS_US_EAST_1"]},
    {"workingDir": None},
    {"workingDir": "/tmp"},
    {"secretEnvs": [], "colour": "red"},
]
OF_THE_BATCH = ("batchSize", "retryStrategy", "regions", "region", "jobName", "secretEnvs", "colour")


def element(changes: Json) -> Json:
    """A batch with some members of it or of its definition changed."""
    of_batch = {name: value for name, value in changes.items() if name in OF_THE_BATCH}
    definition = {name: value for name, value in changes.items() if name not in OF_THE_BATCH}
    made = batch("true", **definition) if "commands" not in definition else batch("true")
    made["htcJobDefinition"].update(definition)
    return {**made, **of_batch}


def post(task: Task, body: Any, **params: str) -> Any:
    return task.api.post(f"{task.path}/jobs/batch", json=body, params=params)


def nothing_created(task: Task) -> bool:
    return sum(task.counts().values()) == 0 and task.jobs() == []


def test_c18_the_answer(waiting_task: Task, stranger_api: Api) -> None:
    asked = element({"batchSize": 3, "jobName": "three", "regions": ["AWS_US_EAST_1"]})
    found = ok(post(waiting_task, [asked], group="g"))
    assert len(found) == 1
    made = found[0]
    assert str(UUID(made["parentJobId"])) == made["parentJobId"]
    assert made["group"] == "g" and made["batchSize"] == 3 and made["jobName"] == "three"
    assert (made["taskId"], made["projectId"]) == (waiting_task.task_id, waiting_task.project_id)
    assert "regions" not in made and "region" not in made
    assert made["createdBy"] and made["workspaceId"] and made["jobDefinitionName"]
    assert made["rescaleTimeReceived"].endswith("Z")
    assert made["htcJobDefinition"]["imageName"] == asked["htcJobDefinition"]["imageName"]
    without = waiting_task.submit(element({}))[0]
    assert without["group"] == "", "never null and never absent"
    assert without["batchSize"] == 1


def test_c18_defaults_lie_inside_the_ranges(waiting_task: Task) -> None:
    made = ok(post(waiting_task, [{"htcJobDefinition": {"imageName": "bb:v1"}}]))[0]
    assert made["batchSize"] == 1
    definition = made["htcJobDefinition"]
    assert (definition["maxVCpus"], definition["maxMemory"], definition["maxDiskGiB"]) == (1, 4000, 10)
    assert (definition["execTimeoutSeconds"], definition["priority"]) == (1209600, "ON_DEMAND_PRIORITY")


def test_c19_jobs_can_be_read_at_once(waiting_task: Task) -> None:
    parent = waiting_task.submit(element({"batchSize": 3}))[0]["parentJobId"]
    for n in range(3):
        job = waiting_task.job(f"{parent}:{n}")
        assert job["jobUUID"] == f"{parent}:{n}" and job["status"] == "RUNNABLE"
    for wrong in (f"{parent}:3", parent, f"{parent}:", f"{parent}:-1", f"{parent}:x", "x:0"):
        for below in ("", "/events", "/logs"):
            refused(waiting_task.api.get(f"{waiting_task.path}/jobs/{wrong}{below}"), 404, "NOT_FOUND")


def test_c20_a_hundred_thousand_jobs(waiting_task: Task) -> None:
    began = time.monotonic()
    made = waiting_task.submit(*[element({"batchSize": 1000})] * 100, group="many")
    took = time.monotonic() - began
    assert len({one["parentJobId"] for one in made}) == 100
    assert waiting_task.counts() == {**dict.fromkeys(STATUSES, 0), "RUNNABLE": 100_000}
    last = waiting_task.job(f"{made[-1]['parentJobId']}:999")
    assert last["status"] == "RUNNABLE"
    assert took < 60, f"the submission took {took:.1f} s"


@pytest.mark.parametrize(
    "body", [[element({})] * 101, [], element({}), None, "text", [None]], ids=lambda body: str(body)[:20]
)
def test_c21_refused_bodies(waiting_task: Task, body: Any) -> None:
    refused(post(waiting_task, body), 400, "INVALID_REQUEST")
    assert nothing_created(waiting_task)


@pytest.mark.parametrize(("changes", "named"), OUTSIDE_THE_LIMITS, ids=lambda value: str(value)[:40])
def test_c22_outside_the_limits(waiting_task: Task, changes: Json, named: str) -> None:
    good = element({})
    text = refused(post(waiting_task, [good, good, good, element(changes)]), 400)
    assert text.startswith("[3]."), text
    assert named in text
    assert nothing_created(waiting_task), "not even the elements before the wrong one"


def test_c22_an_image_that_is_not_there(waiting_task: Task) -> None:
    answer = post(waiting_task, [element({"imageName": "no/such:image"})])
    refused(answer, 400, "IMAGE_UNAVAILABLE")


@pytest.mark.parametrize("changes", AT_THE_LIMITS, ids=lambda value: str(value)[:40])
def test_c23_at_the_limits(waiting_task: Task, changes: Json) -> None:
    ok(post(waiting_task, [element(changes)]))
    assert sum(waiting_task.counts().values()) == changes.get("batchSize", 1)


def test_c23_a_hundred_elements(waiting_task: Task) -> None:
    made = waiting_task.submit(*(element({"jobName": f"n{n}"}) for n in range(100)))
    assert [one["jobName"] for one in made] == [f"n{n}" for n in range(100)], "in the order of the request"


@pytest.mark.parametrize(
    "name",
    [
        "AWS_BATCH_A",
        "X_AWS_BATCH_Y",
        "RESCALE_JOB_IDX",
        "RESCALE_HTC_REGION",
        "RESCALE_HTC_BEARER_TOKEN",
        "AWS_SECRET_ACCESS_KEY",
        "RDF_X",
        "",
        "A=B",
        "A\0B",
    ],
)
def test_c24_reserved_names(waiting_task: Task, name: str) -> None:
    envs = [{"name": "FOO", "value": ""}, {"name": name, "value": "x"}]
    text = refused(post(waiting_task, [element({"envs": envs})]), 400, "INVALID_REQUEST")
    assert text.startswith("[0].htcJobDefinition.envs[1]")
    assert nothing_created(waiting_task)


@pytest.mark.parametrize("name", ["MY_RESCALE_JOB_ID", "FOO", "AWS_PROFILE", "foo.bar", "ünï"])
def test_c24_allowed_names(waiting_task: Task, name: str) -> None:
    envs = [{"name": name, "value": "a value"}]
    made = ok(post(waiting_task, [element({"envs": envs})]))[0]
    assert made["htcJobDefinition"]["envs"] == envs
    assert waiting_task.job(f"{made['parentJobId']}:0")["envs"] == envs
