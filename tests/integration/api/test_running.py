"""What a job finds inside its container, and retries."""

import pytest

from ...stack import Api, Json, Stack, Task, batch, shell, wait_until

FILLED = (
    "AWS_BATCH_JOB_ID",
    "AWS_BATCH_JQ_NAME",
    "AWS_BATCH_CE_NAME",
    "PROJECT_SHARED_FOLDER",
    "TASK_SHARED_FOLDER",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "RESCALE_HTC_BEARER_TOKEN",
    "RESCALE_HTC_REFRESH_TOKEN",
    "AWS_ENDPOINT_URL_S3",
    "AWS_REGION",
)
"""Variables whose values are for the service to choose, but never empty."""


@pytest.mark.parametrize("size", [1, 3])
def test_the_environment_of_a_job(task: Task, project: Json, size: int) -> None:
    envs = [{"name": "COLOUR", "value": "blue"}, {"name": "TEXT", "value": 'ünï "q" \\ $x'}]
    parent = task.submit(batch("env", size=size, envs=envs))[0]["parentJobId"]
    task.wait_for_end()
    for n in range(size):
        job = f"{parent}:{n}"
        task.wait_for_line(job, f"AWS_BATCH_JOB_ARRAY_INDEX={n}")
        found = dict(line.split("=", 1) for line in task.log(job))
        expected = {
            "AWS_BATCH_JOB_ATTEMPT": "1",
            "RESCALE_JOB_ID": job,
            "RESCALE_TASK_ID": task.task_id,
            "RESCALE_HTC_TASK_ID": task.task_id,
            "RESCALE_PROJECT_ID": task.project_id,
            "RESCALE_HTC_PROJECT_ID": task.project_id,
            "RESCALE_HTC_REGION": project["regions"][0],
            **{env["name"]: env["value"] for env in envs},
        }
        assert {name: found.get(name) for name in expected} == expected
        assert [name for name in FILLED if not found.get(name)] == []
        assert task.job(job)["envs"] == envs, "never what was injected"


def test_retries_until_it_succeeds(task: Task) -> None:
    script = "echo try $AWS_BATCH_JOB_ATTEMPT; exit $((3 - AWS_BATCH_JOB_ATTEMPT))"
    job_id = task.submit_one({**shell(script), "retryStrategy": {"maxRetries": 4}})
    job = task.wait_for(job_id, "SUCCEEDED")
    assert job["container"]["exitCode"] == 0 and job["failureCode"] is None
    assert task.wait_for_line(job_id, "try 3") == ["try 1", "try 2", "try 3"]
    states = [event["status"] for event in task.events(job_id)]
    assert states.count("RUNNING") == 3 and states.count("RUNNABLE") == 3
    assert states[-1] == "SUCCEEDED" and "FAILED" not in states
    assert task.counts()["SUCCEEDED"] == 1


def test_retries_that_run_out(task: Task) -> None:
    job_id = task.submit_one({**shell("exit 5"), "retryStrategy": {"maxRetries": 2}})
    job = task.wait_for(job_id, "FAILED")
    assert (job["container"]["exitCode"], job["failureCode"]) == (5, "ErrorNonZeroContainerExitCode")
    assert [event["status"] for event in task.events(job_id)].count("RUNNING") == 3


def test_a_cancelled_job_is_not_tried_again(task: Task) -> None:
    job_id = task.submit_one({**shell("echo up; sleep 300"), "retryStrategy": {"maxRetries": 5}})
    task.wait_for_line(job_id, "up")
    task.cancel()
    job = task.wait_for(job_id, "FAILED")
    assert job["failureCode"] is None
    assert [event["status"] for event in task.events(job_id)].count("RUNNING") == 1


def test_working_directory(task: Task) -> None:
    good = task.submit_one(batch("pwd", workingDir="/tmp"))
    bad = task.submit_one(batch("pwd", workingDir="/no/such/place"))
    task.wait_for_end()
    task.wait_for_line(good, "/tmp")
    failed = task.job(bad)
    assert (failed["status"], failed["failureCode"]) == ("FAILED", "ErrorStartingContainer")
    assert "/no/such/place" in failed["statusReason"]


def test_output_of_every_kind_becomes_lines(task: Task) -> None:
    script = r"printf 'a\377b\n\000c\r\nünï\n\n'; echo err >&2; printf last"
    job_id = task.submit_one(shell(script))
    task.wait_for_end()
    lines = task.wait_for_line(job_id, "last")
    assert [line.replace("\ufffd", "?") for line in lines] == ["a?b", "?c\r", "ünï", "", "err", "last"]


def test_a_job_of_the_first_class_gets_room_and_nobody_pays_for_it(stack: Stack, task: Task) -> None:
    script = 'echo try $AWS_BATCH_JOB_ATTEMPT; [ "$AWS_BATCH_JOB_ATTEMPT" -gt 1 ] || sleep 300'
    parent = task.submit(shell(script, size=stack.vcpus, priority="ON_DEMAND_ECONOMY"))[0]["parentJobId"]
    wait_until(task.counts, lambda counts: counts["RUNNING"] == stack.vcpus, 60)
    urgent = task.submit_one(shell("true", priority="ON_DEMAND_PRIORITY"))
    task.wait_for(urgent, "SUCCEEDED")
    counts = wait_until(task.counts, lambda counts: counts["SUCCEEDED"] == 2, 30)
    assert counts["RUNNING"] == stack.vcpus - 1, "one job made room, and did its work afterwards"
    again = next(job["jobUUID"] for job in task.jobs(status="SUCCEEDED") if job["jobUUID"] != urgent)
    assert again.startswith(parent)
    told = [event["statusReason"] for event in task.events(again) if event["status"] == "RUNNABLE"]
    assert told == [None, "made room for a job of a higher priority"]


def test_a_job_too_big_for_every_node_waits_and_stops_nobody(task: Task, alice_api: Api) -> None:
    big = task.submit_one(batch("true", maxVCpus=64))
    small = task.submit_one(batch("true"))
    task.wait_for(small, "SUCCEEDED")
    assert task.job(big)["status"] == "RUNNABLE"
