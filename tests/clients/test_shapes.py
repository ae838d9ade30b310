"""P32, P33 and P35: what the low-level calls answer, to whom, and under which name of the server."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from rescalehtc import HtcSession, api, htcjobs, htcprojects, htctasks
from rescalehtc.exceptions import HtcException
from rescalehtc.htcjobs import HtcJob
from rescalehtc.htctasks import HtcTask
from rescalehtc.internals import constants

from ..stack import IMAGE, STATUSES, Api, Stack, Task, User, batch, wait_until

PRIORITY = "ON_DEMAND_PRIORITY"


@pytest.fixture
def finished(htc: HtcSession, htc_task: HtcTask, alice_api: Api) -> HtcJob:
    """Submitted without the client, which cannot name a group."""
    task = Task(alice_api, htc_task.project.json["projectId"], htc_task.json["taskId"])
    task.submit(batch("echo", "hello"), group="g")
    (job,) = htcjobs.get_jobs(htc, htc_task)
    wait_until(lambda: job.is_still_running(htc), lambda running: not running, 60)
    return job


def test_p32_answers_have_their_shapes(
    htc: HtcSession, htc_task: HtcTask, finished: HtcJob, alice: User
) -> None:
    place = (htc, htc_task.project.json["projectId"], htc_task.json["taskId"])
    assert api.get_htc_projects_tasks_groups(*place) == ["g"]
    (of_group,) = api.get_htc_projects_tasks_group_summary_statistics(*place)
    assert of_group["group"] == "g" and set(of_group["jobStatuses"]) == set(STATUSES)
    whole = api.get_htc_projects_tasks_summary_statistics(*place)
    assert whole["group"] is None and whole["jobStatuses"]["SUCCEEDED"] == 1
    events = api.get_htc_projects_tasks_jobs_events(*place, finished.json["jobUUID"])
    assert [event["status"] for event in events] == [
        "SUBMITTED_TO_RESCALE",
        "RUNNABLE",
        "STARTING",
        "RUNNING",
        "SUCCEEDED",
    ]
    assert isinstance(api.get_htc_workspaces_dimensions(htc, alice.workspace_id), list)
    with pytest.raises(HtcException) as refused:
        api.get_htc_workspaces_limits(htc, alice.workspace_id)
    assert refused.value.status_code == 404
    clusters = api.get_htc_gcp_clusters(htc, alice.workspace_id)["clusters"]
    assert {cluster["region"] for cluster in clusters} == {"AWS_US_WEST_2", "GCP_US_CENTRAL_1"}
    assert all(pool["instanceType"] for cluster in clusters for pool in cluster["nodePools"])


def test_p33_logs_events_and_cancelling_are_the_owner_s_and_admins(
    session_of: Callable[[User], HtcSession], htc_task: HtcTask, finished: HtcJob, bob: User, wanda: User
) -> None:
    project, task = htc_task.project.json["projectId"], htc_task.json["taskId"]

    def attempts(who: HtcSession) -> list[Callable[[], object]]:
        job = finished.json["jobUUID"]
        return [
            lambda: api.get_htc_projects_tasks_jobs_logs(who, project, task, job),
            lambda: api.get_htc_projects_tasks_jobs_events(who, project, task, job),
            lambda: api.post_htc_projects_tasks_jobs_cancel(who, project, task),
        ]

    for attempt in attempts(session_of(bob)):
        with pytest.raises(HtcException) as refused:
            attempt()
        assert refused.value.status_code == 403
    for attempt in attempts(session_of(wanda)):
        attempt()


def test_p35_a_second_name_of_the_server(
    stack: Stack, alice: User, htc_task: HtcTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "_RESCALE_API_BASE_URL", f"http://localhost:{stack.port}/api/v1")
    htc = HtcSession(api_key=alice.api_key)
    project = htcprojects.get_project_with_id(htc, htc_task.project.json["projectId"])
    assert project is not None
    task = htctasks.get_task_with_id(htc, project, htc_task.json["taskId"])
    assert task is not None
    htcjobs.create_job_batch(htc, task, 250, PRIORITY, IMAGE, 120, commands=["true"], max_memory_mib=16)
    assert len({job.json["jobUUID"] for job in htcjobs.get_jobs(htc, task)}) == 250


@pytest.mark.last
def test_p34_polling_while_five_thousand_jobs_run(
    session_of: Callable[[User], HtcSession], alice: User, htc: HtcSession, htc_task: HtcTask
) -> None:
    """Two clients poll with ten connections each; every listing is whole."""
    definition = {
        "imageName": IMAGE,
        "commands": ["true"],
        "maxMemory": 16,
        "maxDiskGiB": 1,
        "execTimeoutSeconds": 600,
    }
    place = (htc_task.project.json["projectId"], htc_task.json["taskId"])
    api.post_htc_projects_tasks_jobs_batch(
        htc, *place, [{"batchSize": 1000, "htcJobDefinition": definition}] * 5
    )
    sessions = [HtcSession(api_key=alice.api_key) for _ in range(2)]

    def poll(session: HtcSession) -> dict[str, int]:
        jobs = htcjobs.get_jobs(session, htc_task)
        assert len({job.json["jobUUID"] for job in jobs}) == 5000
        counts: dict[str, int] = api.get_htc_projects_tasks_summary_statistics(session, *place)["jobStatuses"]
        assert sum(counts.values()) == 5000
        return counts

    rounds, counts = 0, {"SUCCEEDED": 0}
    with ThreadPoolExecutor(20) as pool:
        while counts["SUCCEEDED"] < 5000 and rounds < 3:
            *_, counts = pool.map(poll, sessions * 10)
            rounds += 1
    assert rounds > 0
    htc_task.cancel_jobs_in_task(htc)
