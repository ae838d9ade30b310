"""P26 to P28: retention policies, and tasks archived and deleted."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from rescalehtc import HtcSession, api, htcjobs, htctasks
from rescalehtc.exceptions import HtcException
from rescalehtc.htcprojects import HtcProject
from rescalehtc.htctasks import HtcTask

from ..stack import IMAGE, Stack, User, wait_until

HOURS = {"archiveAfter": 24, "deleteAfter": 168}


def status_of(call: Callable[..., Any], *arguments: Any) -> int:
    """The status of a call that must be refused."""
    with pytest.raises(HtcException) as caught:
        call(*arguments)
    return int(caught.value.status_code)


def new_project(htc: HtcSession) -> str:
    made = api.post_htc_projects(htc, {"projectName": "kept", "projectDescription": ""})
    return str(made["projectId"])


def test_p26_a_project_s_policy(htc: HtcSession) -> None:
    project = new_project(htc)
    get = api.get_htc_projects_task_retention_policy
    assert status_of(get, htc, project) == 404
    made = api.put_htc_projects_task_retention_policy(htc, project, HOURS)
    assert {name: made[name] for name in HOURS} == HOURS
    assert get(htc, project) == made
    api.delete_htc_projects_task_retention_policy(htc, project)
    assert status_of(get, htc, project) == 404


def test_p26_a_workspace_s_policy(
    stack: Stack, new_user: Callable[..., User], session_of: Callable[[User], HtcSession]
) -> None:
    """In a workspace of its own, so that no other test's tasks are archived."""
    workspace = stack.new_workspace("with a policy")
    member = session_of(new_user("dora", workspace))
    admin = session_of(new_user("dave", workspace, "--workspace-admin"))
    put, get = api.put_htc_task_retention_policy, api.get_htc_task_retention_policy
    assert status_of(get, member, workspace) == 404
    assert status_of(put, member, workspace, HOURS) == 403
    made = put(admin, workspace, HOURS)
    assert {name: made[name] for name in HOURS} == HOURS
    assert get(member, workspace) == made


def test_p27_archive_and_restore(htc: HtcSession, htc_task: HtcTask) -> None:
    project, task = htc_task.json["projectId"], htc_task.json["taskId"]
    archive, restore = ({"lifecycleStatus": state} for state in ("ARCHIVED", "ACTIVE"))
    job = htcjobs.create_single_job(
        htc, htc_task, "ON_DEMAND_PRIORITY", IMAGE, 180, commands=["sleep", "300"], max_memory_mib=64
    )
    patch = api.patch_htc_projects_tasks
    assert status_of(patch, htc, project, task, archive) == 400
    htc_task.cancel_jobs_in_task(htc)
    wait_until(lambda: job.is_still_running(htc), lambda running: not running, 60)
    assert patch(htc, project, task, archive)["lifecycleStatus"] == "ARCHIVED"
    submission = [{"htcJobDefinition": {"imageName": IMAGE}}]
    submit = api.post_htc_projects_tasks_jobs_batch
    assert status_of(submit, htc, project, task, submission) == 400
    assert patch(htc, project, task, restore)["lifecycleStatus"] == "ACTIVE"
    assert len(submit(htc, project, task, submission)) == 1


def test_p28_deletion(htc: HtcSession, htc_project: HtcProject) -> None:
    name = f"to be deleted {uuid4()}"
    first, second, third = (htctasks.create_task_with_name(htc, htc_project, name) for _ in range(3))
    first_id = first.json["taskId"]
    assert htctasks.delete_task_with_id(htc, htc_project, first_id)["lifecycleStatus"] == "DELETED"
    assert htctasks.delete_task_with_id(htc, htc_project, str(uuid4())) is None

    def ids(lifecycle: str) -> set[str]:
        found = htctasks.get_tasks_with_name(htc, htc_project, name, lifecycle)
        return {task.json["taskId"] for task in found}

    assert ids("ACTIVE") == {second.json["taskId"], third.json["taskId"]}
    assert ids("DELETED") == {first_id}
    assert len(ids("any")) == 3
    deleted = htctasks.delete_tasks_with_name(htc, htc_project, name)
    assert {task["taskId"] for task in deleted} == {second.json["taskId"], third.json["taskId"]}
    assert ids("ACTIVE") == set()
