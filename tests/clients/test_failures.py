"""P17 to P19: what is refused, and jobs that fail."""

from collections.abc import Callable
from typing import Any

import pytest
from rescalehtc import HtcSession, api, htcjobs, htctasks
from rescalehtc.exceptions import HtcException
from rescalehtc.htcjobs import HtcJob
from rescalehtc.htcprojects import HtcProject
from rescalehtc.htctasks import HtcTask

from ..stack import IMAGE, Image, User, push, wait_until

PRIORITY = "ON_DEMAND_PRIORITY"


def submit(htc: HtcSession, task: HtcTask, **changes: Any) -> htcjobs.HtcJobBatch:
    usual = {"batch_size": 1, "priority": PRIORITY, "image_name": IMAGE, "exec_timeout_seconds": 120}
    return htcjobs.create_job_batch(htc, task, **{**usual, "max_memory_mib": 64, **changes})


def wait_for_failure(htc: HtcSession, job: HtcJob, seconds: float = 60) -> dict[str, Any]:
    done: dict[str, Any] = wait_until(
        lambda: job.get_update(htc), lambda found: not job.is_still_running(htc), seconds
    )
    assert done["status"] == "FAILED", done
    return done


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"envs": [{"name": "AWS_BATCH_X", "value": "1"}]}, "envs[0].name"),
        ({"envs": [{"name": "RESCALE_JOB_ID", "value": "1"}]}, "envs[0].name"),
        ({"envs": [{"name": "RDF_A", "value": "1"}]}, "envs[0].name"),
        ({"batch_size": 0}, "[0].batchSize: 0 is below 1"),
        ({"batch_size": 1001}, "[0].batchSize: 1001 is above 1000"),
        ({"exec_timeout_seconds": 59}, "[0].htcJobDefinition.execTimeoutSeconds: 59 is below 60"),
        ({"max_vcpus": 65}, "[0].htcJobDefinition.maxVCpus: 65 is above 64"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_p17_refused(htc: HtcSession, htc_task: HtcTask, changes: dict[str, Any], named: str) -> None:
    with pytest.raises(HtcException) as refused:
        submit(htc, htc_task, **changes)
    assert refused.value.status_code == 400
    assert named in str(refused.value)
    assert sum(htc_task.get_task_summary(htc)["jobStatuses"].values()) == 0


def test_p18_two_regions(
    session_of: Callable[[User], HtcSession], stranger: User, busybox_image: Image
) -> None:
    htc = session_of(stranger)
    regions = ["AWS_US_WEST_2", "AWS_US_EAST_1"]
    body = {"projectName": "two regions", "projectDescription": "", "regions": regions}
    project = HtcProject(api.post_htc_projects(htc, body))
    assert project.json["regions"] == regions
    token = api.get_htc_projects_container_registry_token(htc, project.json["projectId"])
    push(busybox_image, project.json["containerRegistry"], IMAGE, token)
    task = htctasks.create_task_with_name(htc, project, "spread")
    with pytest.raises(HtcException, match="explicitly pick one"):
        submit(htc, task)
    for region in regions:
        job = submit(htc, task, region=region).to_jobs()[0]
        assert job.get_update(htc)["region"] == region
    task.cancel_jobs_in_task(htc)


def test_p19_exit_code(htc: HtcSession, htc_task: HtcTask) -> None:
    job = submit(htc, htc_task, commands=["sh", "-c", "echo so far; exit 3"]).to_jobs()[0]
    done = wait_for_failure(htc, job)
    assert done["container"]["exitCode"] == 3
    assert done["failureCode"] == "ErrorNonZeroContainerExitCode"
    assert list(job.get_logs(htc)) == ["so far"]


def test_p19_unknown_command(htc: HtcSession, htc_task: HtcTask) -> None:
    done = wait_for_failure(htc, submit(htc, htc_task, commands=["no-such-program"]).to_jobs()[0])
    assert done["failureCode"] == "ErrorStartingContainer"
    assert "no-such-program" in done["statusReason"]


def test_p19_out_of_memory(htc: HtcSession, htc_task: HtcTask) -> None:
    job = submit(htc, htc_task, commands=["tail", "/dev/zero"], max_memory_mib=32).to_jobs()[0]
    done = wait_for_failure(htc, job)
    assert done["failureCode"] == "ErrorNotEnoughMemory"
    assert "32 MiB" in done["statusReason"]


def test_p19_disk_full(htc: HtcSession, htc_task: HtcTask) -> None:
    fill = "dd if=/dev/zero of=/tmp/big bs=1M count=1500"
    job = submit(htc, htc_task, commands=["sh", "-c", fill], max_disk_gib=1).to_jobs()[0]
    done = wait_for_failure(htc, job, 90)
    assert done["failureCode"] == "ErrorUnknownFailure", "no code is about disks, so the reason must be"
    assert "maxDiskGiB" in done["statusReason"]


@pytest.mark.last
def test_p19_timeout(htc: HtcSession, timed_out_job: HtcJob) -> None:
    done = wait_for_failure(htc, timed_out_job, 100)
    assert done["failureCode"] == "ErrorTimeout"
    assert "60" in done["statusReason"]
