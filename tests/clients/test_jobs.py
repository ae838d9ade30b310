"""P13 to P16: jobs that run, what they print and what they carry."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

from rescalehtc import HtcSession, api, bearer_token, htcjobs
from rescalehtc.htcjobs import HtcJob
from rescalehtc.htctasks import HtcTask

from ..stack import IMAGE, STATUSES, Stack, run, wait_until
from .test_sessions import SETTINGS

PRIORITY = "ON_DEMAND_PRIORITY"

CLAIMS_OF_THE_JOB = f"""{SETTINGS}
import json
from rescalehtc import HtcSession
print(json.dumps(HtcSession().get_bearer_token().get_user_claims()))
"""


def wait_for_end(htc: HtcSession, running: Callable[[HtcSession], bool], seconds: float = 60) -> None:
    """Poll the client's own question."""
    wait_until(lambda: running(htc), lambda still: not still, seconds)


def wait_for_lines(htc: HtcSession, job: HtcJob, count: int) -> list[str]:
    return wait_until(lambda: list(job.get_logs(htc)), lambda lines: len(lines) >= count, 60)


def test_p13_single_job_with_the_clients_defaults(htc: HtcSession, htc_task: HtcTask) -> None:
    job = htcjobs.create_single_job(
        htc, htc_task, priority=PRIORITY, image_name=IMAGE, exec_timeout_seconds=180
    )
    parent, colon, index = job.json["jobUUID"].partition(":")
    assert (str(UUID(parent)), colon, index) == (parent, ":", "0")
    wait_for_end(htc, job.is_still_running)
    assert job.json["status"] == "SUCCEEDED"
    assert (job.json["container"]["exitCode"], job.json["failureCode"]) == (0, None)
    assert job.json["architecture"] == "AARCH64", "as it was asked for"
    assert list(job.get_logs(htc)) == ["hello from job 0"]
    found = htcjobs.get_job_with_id(htc, htc_task, job.json["jobUUID"])
    assert found is not None and found.json == job.json
    assert htcjobs.get_job_with_id(htc, htc_task, f"{parent}:1") is None


def test_p14_batch_of_twenty(htc: HtcSession, htc_task: HtcTask) -> None:
    script = "echo index $AWS_BATCH_JOB_ARRAY_INDEX"
    made = htcjobs.create_job_batch(
        htc, htc_task, 20, PRIORITY, IMAGE, 180, commands=["sh", "-c", script], max_memory_mib=64
    )
    summary = made.get_task_summary(htc)
    assert set(summary["jobStatuses"]) == set(STATUSES)
    assert sum(summary["jobStatuses"].values()) == 20
    assert summary["still_running"] in (True, False)
    wait_for_end(htc, made.is_still_running)
    assert made.get_task_summary(htc)["jobStatuses"]["SUCCEEDED"] == 20
    jobs = made.to_jobs()
    assert [job.json["jobUUID"].split(":")[1] for job in jobs] == [str(n) for n in range(20)]
    assert [list(job.get_logs(htc)) for job in jobs] == [[f"index {n}"] for n in range(20)]


def test_p15_a_log_of_12000_lines(htc: HtcSession, htc_task: HtcTask, tmp_path: Path) -> None:
    script = "i=1; while [ $i -le 12000 ]; do echo line $i; i=$((i+1)); done"
    job = htcjobs.create_single_job(
        htc, htc_task, PRIORITY, IMAGE, 180, commands=["sh", "-c", script], max_memory_mib=64
    )
    wait_for_end(htc, job.is_still_running)
    expected = [f"line {n}" for n in range(1, 12001)]
    assert wait_for_lines(htc, job, 12000) == expected
    other = htcjobs.HtcJob(job.json, htc_task)
    assert list(other.get_logs(htc, last_n_lines=10)) == expected[-10:]
    target = tmp_path / "log"
    job.get_logs_to_file(htc, str(target))
    assert target.read_text().splitlines() == expected


def test_p16_environment_and_claims(stack: Stack, htc: HtcSession, htc_task: HtcTask, tmp_path: Path) -> None:
    region = htc_task.project.json["regions"][0]
    script = 'echo $COLOUR; echo $RESCALE_HTC_REGION; echo "$RESCALE_HTC_BEARER_TOKEN"; '
    script += 'echo "$RESCALE_HTC_REFRESH_TOKEN"; sleep 300'
    envs = [{"name": "COLOUR", "value": "blue and green"}]
    claims = [{"name": "shift", "value": "night"}]
    made = htcjobs.create_job_batch(
        htc,
        htc_task,
        1,
        PRIORITY,
        IMAGE,
        300,
        commands=["sh", "-c", script],
        envs=envs,
        claims=claims,
        job_tags={"of": "the job"},
        batch_tags=[{"key": "of", "value": "the batch"}],
        max_memory_mib=64,
        region=region,
    )
    assert made.json["htcJobDefinition"]["envs"] == envs
    assert made.json["htcJobDefinition"]["claims"] == claims
    assert made.json["htcJobDefinition"]["tags"] == {"of": "the job"}
    assert made.json["tags"] == [{"key": "of", "value": "the batch"}]
    job = made.to_jobs()[0]
    colour, where, bearer, refresh = wait_for_lines(htc, job, 4)
    assert (colour, where) == ("blue and green", region)
    job_token = bearer_token.token_from_str(bearer)
    assert job_token.payload["userDefined_shift"] == "night"
    assert job_token.get_user_claims() == {"shift": "night"}
    assert job.get_update(htc)["envs"] == envs, "only what the user gave"

    def ask_from_the_job() -> Any:
        return run(
            sys.executable,
            "-c",
            CLAIMS_OF_THE_JOB,
            stack.base_url,
            str(tmp_path / "config"),
            env={"RESCALE_HTC_REFRESH_TOKEN": refresh},
        )

    while_it_runs = ask_from_the_job()
    assert while_it_runs.stdout.strip() == '{"shift": "night"}', while_it_runs.stderr
    htc_task.cancel_jobs_in_task(htc)
    wait_for_end(htc, job.is_still_running)
    (tmp_path / "config" / "default" / "rescale_bearer_token.json").unlink()
    afterwards = ask_from_the_job()
    assert afterwards.returncode != 0
    assert "HTTP 401" in afterwards.stderr, afterwards.stderr
    events = api.get_htc_projects_tasks_jobs_events(
        htc, htc_task.json["projectId"], htc_task.json["taskId"], job.json["jobUUID"]
    )
    assert events[-1]["status"] == "FAILED" and events[-1]["userCancelledEvent"] is True
