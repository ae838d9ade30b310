"""P27, P28 over HTTP: tasks archived, restored and deleted."""

from collections.abc import Iterator
from uuid import uuid4

import pytest

from ...stack import Api, Json, Task, ok, pages, shell
from .refusals import refused

ARCHIVED, ACTIVE, DELETED = ({"lifecycleStatus": state} for state in ("ARCHIVED", "ACTIVE", "DELETED"))


@pytest.fixture
def bobs_task(bob_api: Api, project: Json, request: pytest.FixtureRequest) -> Iterator[Task]:
    made = bob_api.new_task(project["projectId"], request.node.name[:100])
    yield made
    made.cancel()


def test_p27_archive_and_restore(alice_api: Api, task: Task) -> None:
    task.submit(shell("true"))
    task.wait_for_end()
    before = ok(alice_api.get(task.path))
    archived = ok(alice_api.patch(task.path, json=ARCHIVED))
    assert archived["lifecycleStatus"] == "ARCHIVED" and archived["deletedAt"] is None
    assert archived["archivedAt"] > before["lastActiveAt"] == archived["lastActiveAt"]
    assert ok(alice_api.get(task.path)) == archived
    assert "ARCHIVED already, expected ACTIVE" in refused(alice_api.patch(task.path, json=ARCHIVED), 400)
    answer = alice_api.post(f"{task.path}/jobs/batch", json=[shell("true")])
    assert "expected ACTIVE" in refused(answer, 400, "TASK_NOT_ACTIVE")
    restored = ok(alice_api.patch(task.path, json=ACTIVE))
    assert (restored["lifecycleStatus"], restored["archivedAt"]) == ("ACTIVE", None)
    assert restored["lastActiveAt"] > archived["archivedAt"]
    assert "ACTIVE already, expected ARCHIVED" in refused(alice_api.patch(task.path, json=ACTIVE), 400)
    assert "DELETED cannot be set" in refused(alice_api.patch(task.path, json=DELETED), 400)
    task.submit(shell("true"))


def test_p27_not_with_a_running_job(alice_api: Api, task: Task) -> None:
    job = task.submit_one(shell("sleep 300"))
    task.wait_for(job, "RUNNING")
    said = refused(alice_api.patch(task.path, json=ARCHIVED), 400, "TASK_HAS_UNFINISHED_JOBS")
    assert "1 of this task's have not ended" in said
    task.cancel()
    task.wait_for_end()
    assert ok(alice_api.patch(task.path, json=ARCHIVED))["lifecycleStatus"] == "ARCHIVED"


def test_p28_deletion(alice_api: Api, task: Task, project: Json) -> None:
    deleted = ok(alice_api.delete(task.path))
    assert deleted["lifecycleStatus"] == "DELETED" and "deletedAt" in deleted
    assert "archivedAt" not in deleted, "the type of this answer has no null"
    assert ok(alice_api.delete(task.path)) == deleted
    read = ok(alice_api.get(task.path))
    assert read == {**deleted, "archivedAt": None}
    listed = list(pages(alice_api, f"/htc/projects/{project['projectId']}/tasks", pageSize=1000))
    assert read in listed
    for body in (ARCHIVED, ACTIVE, DELETED):
        assert "final" in refused(alice_api.patch(task.path, json=body), 400, "TASK_DELETED")
    answer = alice_api.post(f"{task.path}/jobs/batch", json=[shell("true")])
    assert "DELETED" in refused(answer, 400, "TASK_NOT_ACTIVE")


def test_p28_a_deleted_task_that_was_archived_says_when(alice_api: Api, task: Task) -> None:
    archived = ok(alice_api.patch(task.path, json=ARCHIVED))
    assert ok(alice_api.delete(task.path))["archivedAt"] == archived["archivedAt"]


def test_p28_running_jobs_are_cancelled(alice_api: Api, task: Task) -> None:
    running = task.submit_one(shell("sleep 300"))
    task.wait_for(running, "RUNNING")
    waiting = task.submit_one(shell("true", maxVCpus=64))
    ok(alice_api.delete(task.path))
    assert task.job(waiting)["status"] == "FAILED"
    assert task.wait_for(running, "FAILED")["statusReason"] == "Cancelled by user"
    assert task.events(running)[-1]["userCancelledEvent"] is True


def test_who_may(alice_api: Api, wanda_api: Api, bobs_task: Task) -> None:
    for answer in (alice_api.patch(bobs_task.path, json=ARCHIVED), alice_api.delete(bobs_task.path)):
        assert "owner or admin" in refused(answer, 403, "FORBIDDEN")
    ok(bobs_task.api.patch(bobs_task.path, json=ARCHIVED))
    ok(wanda_api.patch(bobs_task.path, json=ACTIVE))
    assert ok(wanda_api.delete(bobs_task.path))["lifecycleStatus"] == "DELETED"


def test_unknown_tasks_and_states(alice_api: Api, task: Task, project: Json) -> None:
    for unknown in (str(uuid4()), "x"):
        path = f"/htc/projects/{project['projectId']}/tasks/{unknown}"
        refused(alice_api.delete(path), 404)
        refused(alice_api.patch(path, json=ARCHIVED), 404)
    for body, said in (
        ({"lifecycleStatus": "ASLEEP"}, '"ASLEEP" is none of DELETED, ACTIVE, ARCHIVED'),
        ({"lifecycleStatus": None}, "lifecycleStatus: null"),
        ({}, "the required member lifecycleStatus is missing"),
    ):
        assert said in refused(alice_api.patch(task.path, json=body), 400, "INVALID_REQUEST")
    assert ok(alice_api.get(task.path))["lifecycleStatus"] == "ACTIVE"
