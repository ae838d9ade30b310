"""C25 to C30: listings, counts, events, logs and cancelling."""

from datetime import datetime
from itertools import pairwise
from urllib.parse import parse_qs, urlsplit

import pytest

from ...stack import STATUSES, Api, Json, Task, ok, pages, shell, wait_until
from .conftest import UNSERVED
from .refusals import refused

RUNNING_SET = STATUSES[:5]
SIMPLE_NULLABLE = ("statusReason", "failureCode", "container", "startedAt", "completedAt")
FULL_ONLY = ("commands", "envs", "tags", "maxVCpus", "maxMemory", "imageName")


@pytest.fixture(scope="module")
def finished(alice_api: Api, project: Json) -> Task:
    """Three jobs in group g, of which the last fails, and one without a group."""
    task = alice_api.new_task(project["projectId"], "reading")
    task.submit(shell("for n in 1 2 3 4 5 6 7; do echo line $n; done; exit $((INDEX / 2))".replace(
        "INDEX", "AWS_BATCH_JOB_ARRAY_INDEX"), size=3), group="g")  # fmt: skip
    task.submit(shell("true"))
    task.wait_for_end()
    return task


def test_c25_simple_view(finished: Task) -> None:
    found = finished.jobs(status="SUCCEEDED", group="g", viewType="SIMPLE")
    assert [job["jobUUID"].rpartition(":")[2] for job in found] == ["0", "1"]
    for job in found:
        assert set(SIMPLE_NULLABLE) <= set(job), "scripts index these members"
        assert not set(FULL_ONLY) & set(job)
        assert (job["status"], job["group"], job["failureCode"]) == ("SUCCEEDED", "g", None)


def test_c25_full_view(finished: Task) -> None:
    for job in finished.jobs(viewType="FULL"):
        assert set(FULL_ONLY) | set(SIMPLE_NULLABLE) <= set(job)
        assert job["status"] in ("SUCCEEDED", "FAILED")
        times = [datetime.fromisoformat(job[name]) for name in ("createdAt", "startedAt", "completedAt")]
        assert times == sorted(times)
    assert finished.jobs() == finished.jobs(viewType="FULL"), "the default"


def test_c25_job_ids_and_wrong_filters(finished: Task) -> None:
    ids = [job["jobUUID"] for job in finished.jobs()]
    chosen = finished.jobs(jobId=[ids[3], ids[1]])
    assert [job["jobUUID"] for job in chosen] == [ids[1], ids[3]]
    assert finished.jobs(jobId="not-a-job:0") == []
    assert finished.jobs(group="no such group") == []
    assert finished.jobs(status="POD_FAILED") == []
    assert len(finished.jobs(group="")) == 4, "an empty group is no filter"
    for query in ("status=NOPE", "viewType=BIG", "pageSize=0", "pageIndex=zzz"):
        text = refused(finished.api.get(f"{finished.path}/jobs?{query}"), 400)
        assert query.split("=")[0] in text


def test_c25_pages_keep_the_filters(finished: Task) -> None:
    params: dict[str, str | int] = {"pageSize": 1, "group": "g", "status": "SUCCEEDED", "viewType": "SIMPLE"}
    page = ok(finished.api.get(f"{finished.path}/jobs", params=params))
    query = parse_qs(urlsplit(page["next"]).query)
    assert {name: query[name] for name in params} == {name: [str(v)] for name, v in params.items()}
    rest = ok(finished.api.get(page["next"]))
    assert [job["jobUUID"][-2:] for job in page["items"] + rest["items"]] == [":0", ":1"]
    assert "next" not in rest


def test_c26_summary(finished: Task) -> None:
    found = ok(finished.api.get(f"{finished.path}/summary-statistics"))
    expected = {**dict.fromkeys(STATUSES, 0), "SUCCEEDED": 3, "FAILED": 1}
    assert found == {"group": None, "jobStatuses": expected}


def test_c27_groups(finished: Task, alice_api: Api) -> None:
    path = f"{finished.path}/group-summary-statistics"
    expected = {
        "group": "g",
        "jobStatuses": {**dict.fromkeys(STATUSES, 0), "SUCCEEDED": 2, "FAILED": 1},
    }
    assert ok(alice_api.get(path, params={"group": "g"})) == {"items": [expected]}
    assert ok(alice_api.get(path)) == {"items": [expected]}, "no row for jobs without a group"
    assert ok(alice_api.get(path, params={"group": "other"})) == {"items": []}
    assert alice_api.get(f"{finished.path}/groups").json() == ["g"]


def test_c27_many_groups(waiting_task: Task) -> None:
    labels = [f"group {n:02}" for n in range(5)]
    for label in labels:
        waiting_task.submit(shell("true"), group=label)
    path = f"{waiting_task.path}/group-summary-statistics"
    listed = list(pages(waiting_task.api, path, pageSize=2))
    assert [item["group"] for item in listed] == labels
    chosen = ok(waiting_task.api.get(path, params={"group": labels[1:3]}))["items"]
    assert [item["group"] for item in chosen] == labels[1:3]
    first = waiting_task.api.get(f"{waiting_task.path}/groups", params={"pageSize": 3})
    assert first.json() == labels[:3]
    following = first.links["next"]["url"]
    assert waiting_task.api.get(following).json() == labels[3:]


def test_c28_events(finished: Task) -> None:
    for job in finished.jobs():
        events = finished.events(job["jobUUID"])
        times = [datetime.fromisoformat(event["dateTime"]) for event in events]
        assert all(earlier <= later for earlier, later in pairwise(times))
        assert events[0]["status"] == "SUBMITTED_TO_RESCALE"
        before = [event["status"] for event in events[:-1]]
        assert before == [status for status in RUNNING_SET if status in before], "in their order"
        assert {"RUNNABLE", "STARTING", "RUNNING"} <= set(before)
        assert events[-1]["status"] == job["status"]
        assert events[-1]["container"] == job["container"]
        assert {event["jobId"] for event in events} == {job["jobUUID"]}
        assert len({event["eventId"] for event in events}) == len(events)
        assert not any(event["userCancelledEvent"] for event in events)
        two = list(pages(finished.api, f"{finished.path}/jobs/{job['jobUUID']}/events", pageSize=2))
        assert two == events, "the same on every reading"


def test_c29_logs(finished: Task) -> None:
    job = finished.jobs(group="g")[1]["jobUUID"]
    path = f"{finished.path}/jobs/{job}/logs"
    expected = [f"line {n}" for n in range(1, 8)]
    newest_first = ok(finished.api.get(path))["items"]
    assert [line["message"] for line in newest_first] == expected[::-1]
    oldest_first = ok(finished.api.get(path, params={"sort": "asc"}))["items"]
    assert oldest_first == newest_first[::-1]
    stamps = [line["timestamp"] for line in oldest_first]
    assert stamps == sorted(set(stamps)), "strictly increasing"
    for sort, whole in (("asc", oldest_first), ("desc", newest_first)):
        assert list(pages(finished.api, path, sort=sort, pageSize=3)) == whole
        sized = ok(finished.api.get(path, params={"sort": sort, "pageSize": 7}))
        assert "next" not in sized
    refused(finished.api.get(path, params={"sort": "sideways"}), 400)


def test_c29_a_page_has_at_most_10000_lines(task: Task) -> None:
    job = task.submit_one(shell("seq 10500"))
    task.wait_for(job, "SUCCEEDED")
    path = f"{task.path}/jobs/{job}/logs"
    wait_until(
        lambda: ok(task.api.get(path, params={"pageSize": 1}))["items"],
        lambda items: bool(items) and items[0]["message"] == "10500",
        30,
    )
    page = ok(task.api.get(path, params={"pageSize": 20000, "sort": "asc"}))
    assert [line["message"] for line in page["items"]] == [str(n) for n in range(1, 10001)]
    rest = ok(task.api.get(page["next"]))
    assert [line["message"] for line in rest["items"]] == [str(n) for n in range(10001, 10501)]


def test_c30_cancel_by_group_then_all(task: Task) -> None:
    task.submit(shell("sleep 300", size=3), group="g")
    task.submit(shell("sleep 300", size=2), group="h")
    path = f"{task.path}/jobs/cancel"
    assert task.api.post(path, params={"group": "g"}).status_code == 200
    wait_until(task.counts, lambda counts: counts["FAILED"] == 3, 30)
    assert {job["status"] for job in task.jobs(group="h")} <= set(RUNNING_SET)
    assert task.api.post(path, params={"group": "no such group"}).status_code == 200
    assert task.api.post(path, json={}).status_code == 200
    wait_until(task.counts, lambda counts: counts["FAILED"] == 5, 30)
    for job in task.jobs():
        assert (job["status"], job["failureCode"]) == ("FAILED", None)
        assert "cancel" in job["statusReason"].lower()
        assert task.events(job["jobUUID"])[-1]["userCancelledEvent"] is True
    assert task.api.post(path).status_code == 200, "nothing left to cancel"


def test_c30_waiting_jobs_never_start(waiting_task: Task) -> None:
    waiting_task.submit(shell("true", size=50))
    waiting_task.cancel()
    assert waiting_task.counts() == {**dict.fromkeys(STATUSES, 0), "FAILED": 50}
    assert {job["startedAt"] for job in waiting_task.jobs()} == {None}


def test_a_waiting_job_leaves_out_what_is_not_known(waiting_task: Task) -> None:
    job = waiting_task.job(waiting_task.submit_one(shell("true")))
    assert job["statusReason"] == f"waiting: {UNSERVED} has no live node"
    for name in ("container", "failureCode", "instanceId", "instanceLabels"):
        assert job[name] is None
    assert (job["startedAt"], job["completedAt"], job["maxGpus"]) == (None, None, None)
    assert "providerJobId" not in job


def test_owners_and_admins_only(finished: Task, bob_api: Api, wanda_api: Api) -> None:
    job = finished.jobs()[0]["jobUUID"]
    one = f"{finished.path}/jobs/{job}"
    for below in ("/events", "/logs"):
        refused(bob_api.get(one + below), 403, "FORBIDDEN")
        ok(wanda_api.get(one + below))
    ok(bob_api.get(one))
    refused(bob_api.post(f"{finished.path}/jobs/cancel"), 403, "FORBIDDEN")
    assert wanda_api.post(f"{finished.path}/jobs/cancel").status_code == 200
