"""P21 to P24: cancelling many jobs, and vCPU limits."""

from collections.abc import Callable, Iterator

import pytest
from rescalehtc import HtcSession, api, htcjobs, htcprojects, htctasks
from rescalehtc.exceptions import HtcException
from rescalehtc.htcprojects import HtcProject
from rescalehtc.htctasks import HtcTask

from ..stack import IMAGE, Image, User, wait_until

PRIORITY = "ON_DEMAND_PRIORITY"
RELEASED = ("SUBMITTED_TO_PROVIDER", "RUNNABLE", "STARTING", "RUNNING")


@pytest.fixture(scope="module")
def own_project(
    htc: HtcSession, push_image: Callable[[HtcProject, Image, str], None], busybox_image: Image
) -> HtcProject:
    """A project whose limits concern nobody else."""
    body = {"projectName": "limited", "projectDescription": ""}
    made = HtcProject(api.post_htc_projects(htc, body))
    push_image(made, busybox_image, IMAGE)
    return made


@pytest.fixture
def limited_task(htc: HtcSession, own_project: HtcProject) -> Iterator[HtcTask]:
    made = htctasks.create_task_with_name(htc, own_project, "limited")
    yield made
    made.cancel_jobs_in_task(htc)
    api.delete_htc_projects_limits(htc, own_project.json["projectId"])


def statuses(htc: HtcSession, task: HtcTask) -> dict[str, int]:
    """As they are now: the client's own method may repeat what it read a moment ago."""
    place = (task.project.json["projectId"], task.json["taskId"])
    found: dict[str, int] = api.get_htc_projects_tasks_summary_statistics(htc, *place)["jobStatuses"]
    return found


def sleepers(htc: HtcSession, task: HtcTask, count: int, seconds: int = 600) -> htcjobs.HtcJobBatch:
    return htcjobs.create_job_batch(
        htc, task, count, PRIORITY, IMAGE, 600, commands=["sleep", str(seconds)], max_memory_mib=16
    )


def test_p21_cancel_fifty_sleepers(htc: HtcSession, htc_task: HtcTask) -> None:
    batch = sleepers(htc, htc_task, 50)
    wait_until(lambda: statuses(htc, htc_task), lambda found: found["RUNNING"] >= 4, 60)
    htc_task.cancel_jobs_in_task(htc)
    wait_until(lambda: statuses(htc, htc_task), lambda found: found["FAILED"] == 50, 60)
    project, task = htc_task.project.json["projectId"], htc_task.json["taskId"]
    for job in batch.to_jobs()[::7]:
        events = api.get_htc_projects_tasks_jobs_events(htc, project, task, job.json["jobUUID"])
        assert events[-1]["userCancelledEvent"] is True
        assert events[-1]["status"] == "FAILED"


def test_p22_a_limit_holds_jobs_back(htc: HtcSession, own_project: HtcProject, limited_task: HtcTask) -> None:
    made = own_project.set_vcpu_limit(htc, "PROJECT_ADMIN", 4)
    assert (made["vCPUs"], made["modifierRole"]) == (4, "PROJECT_ADMIN")
    batch = sleepers(htc, limited_task, 20, seconds=1)
    seen: list[dict[str, int]] = []

    def look() -> dict[str, int]:
        seen.append(statuses(htc, limited_task))
        return seen[-1]

    first = look()
    assert sum(first.values()) == 20 and first["SUBMITTED_TO_RESCALE"] >= 12
    assert "limit" in batch.to_jobs()[19].get_update(htc)["statusReason"]
    wait_until(look, lambda found: found["SUCCEEDED"] >= 6, 60)
    assert max(sum(found[name] for name in RELEASED) for found in seen) <= 4
    api.delete_htc_projects_limits(htc, own_project.json["projectId"])
    assert statuses(htc, limited_task)["SUBMITTED_TO_RESCALE"] == 0
    wait_until(look, lambda found: found["SUCCEEDED"] == 20, 60)


def test_p23_the_smaller_limit_holds(
    htc: HtcSession,
    session_of: Callable[[User], HtcSession],
    wanda: User,
    own_project: HtcProject,
    limited_task: HtcTask,
) -> None:
    with pytest.raises(HtcException) as refused:
        own_project.set_vcpu_limit(htc, "WORKSPACE_ADMIN", 8)
    assert refused.value.status_code == 403
    admin = session_of(wanda)
    theirs = htcprojects.get_project_with_id(admin, own_project.json["projectId"])
    assert theirs is not None
    theirs.set_vcpu_limit(admin, "WORKSPACE_ADMIN", 3)
    own_project.set_vcpu_limit(htc, "PROJECT_ADMIN", 5)
    found = {limit["modifierRole"]: limit["vCPUs"] for limit in own_project.get_limits(htc)}
    assert found == {"WORKSPACE_ADMIN": 3, "PROJECT_ADMIN": 5}
    sleepers(htc, limited_task, 10)
    assert statuses(htc, limited_task)["SUBMITTED_TO_RESCALE"] == 7
    with pytest.raises(HtcException) as refused:
        api.delete_htc_projects_limits(htc, own_project.json["projectId"])
    assert refused.value.status_code == 403
    assert len(own_project.get_limits(htc)) == 2
    api.delete_htc_projects_limits(admin, own_project.json["projectId"])
    assert own_project.get_limits(htc) == []


def test_p24_one_limit(htc: HtcSession, own_project: HtcProject, limited_task: HtcTask) -> None:
    project = own_project.json["projectId"]
    made = own_project.set_vcpu_limit(htc, "PROJECT_ADMIN", 9)
    again = own_project.set_vcpu_limit(htc, "PROJECT_ADMIN", 11)
    assert again["id"] == made["id"] and again["createdAt"] == made["createdAt"]
    changed = api.patch_htc_projects_limits(htc, project, made["id"], {"vCPUs": 12})
    assert changed["vCPUs"] == 12
    assert api.get_htc_projects_limits(htc, project, made["id"]) == changed
    assert not api.delete_htc_projects_limits(htc, project, made["id"])
    for unknown in (made["id"], 2**31 + 5):
        with pytest.raises(HtcException) as refused:
            api.get_htc_projects_limits(htc, project, unknown)
        assert refused.value.status_code == 404
