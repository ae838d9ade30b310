"""Every process of the service is killed, stopped or drained while jobs run: nothing is lost and nothing ends twice.

The ledger is what the jobs themselves wrote: each attempt says that it begins, counts, and says that it ends.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from ..stack import IMAGE, Api, Json, Stack, Task, bearer_of, build_busybox, ended, shell, wait_until

pytestmark = [pytest.mark.last, pytest.mark.timeout(300)]

LINES = 20
SCRIPT = f"""echo begin $AWS_BATCH_JOB_ATTEMPT
for n in $(seq {LINES}); do echo line $n; done
sleep SECONDS
echo end"""
TERMINAL = ("SUCCEEDED", "FAILED")


@pytest.fixture(scope="module")
def victim(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """A service of its own, since it will suffer."""
    made = Stack()
    try:
        made.up()
        yield made
    finally:
        made.destroy()


@pytest.fixture(scope="module")
def work(victim: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Api, Json]]:
    """A project with an image."""
    with Api(victim, bearer_of(victim, victim.credentials["api_key"])) as api:
        project = api.new_project("work")
        api.push(project, build_busybox(Path(tmp_path_factory.mktemp("image"))), IMAGE)
        yield api, project


@pytest.fixture(autouse=True)
def show_logs(victim: Stack, request: pytest.FixtureRequest) -> Iterator[None]:
    """What the service logged, for a test that fails; after one that passes, the store keeps every promise."""
    failures = request.session.testsfailed
    yield
    if request.session.testsfailed > failures:
        print(victim.log_tails())
    else:
        victim.command("verify", "--all")


def start_jobs(work: tuple[Api, Json], name: str, *, batches: int, size: int, seconds: float) -> Task:
    api, project = work
    task = api.new_task(project["projectId"], name)
    script = SCRIPT.replace("SECONDS", str(seconds))
    for n in range(batches):
        task.submit(shell(script, size=size), group=f"group {n}")
    return task


def counts_or_silence(task: Task) -> dict[str, int]:
    """The counts; while the service is away, one that has not ended."""
    try:
        answer = task.api.get(f"{task.path}/summary-statistics")
    except httpx.TransportError:
        return {"away": 1}
    return dict(answer.json()["jobStatuses"]) if answer.status_code == 200 else {"away": 1}


def wait_for_some(task: Task, succeeded: int) -> None:
    wait_until(task.counts, lambda counts: counts["SUCCEEDED"] >= succeeded, 60, pause=0.05)


def check_the_ledger(task: Task, jobs: int) -> list[int]:
    """Everything ended once, well, and with all it printed; returns how often each job was tried."""
    counts = wait_until(lambda: counts_or_silence(task), ended, 150, pause=0.5)
    assert counts["SUCCEEDED"] == jobs, counts
    listed = task.jobs(pageSize=1000)
    assert len({job["jobUUID"] for job in listed}) == jobs
    recount = {status: sum(job["status"] == status for job in listed) for status in counts}
    assert recount == counts
    return [check_job(task, job["jobUUID"]) for job in listed]


def check_job(task: Task, job_id: str) -> int:
    """How many attempts a job needed."""
    events = [event["status"] for event in task.events(job_id)]
    assert events[-1] == "SUCCEEDED" and not set(TERMINAL) & set(events[:-1]), events
    log = wait_until(lambda: task.log(job_id), lambda lines: lines[-1:] == ["end"], 30)
    begins = [n for n, line in enumerate(log) if line.startswith("begin ")]
    attempts = [int(log[n].split()[1]) for n in begins]
    assert attempts == sorted(set(attempts)), "no attempt wrote twice"
    assert log[begins[-1] + 1 :] == [f"line {n}" for n in range(1, LINES + 1)] + ["end"]
    return attempts[-1]


def test_supervisor_killed_and_started_again(victim: Stack, work: tuple[Api, Json]) -> None:
    task = start_jobs(work, "supervisor", batches=10, size=20, seconds=0.2)
    wait_for_some(task, 40)
    parts = [
        victim.process(part) for part in ("server", "agent-server", "agent", "postgres", "s3", "registry")
    ]
    victim.kill("supervisor")
    for part in parts:
        assert part is not None and part.wait_gone(30), "nothing stays behind without its supervisor"
    victim.up()
    attempts = check_the_ledger(task, 200)
    assert max(attempts) <= 3


def test_agent_killed(victim: Stack, work: tuple[Api, Json]) -> None:
    task = start_jobs(work, "agent", batches=2, size=12, seconds=2)
    wait_until(task.counts, lambda counts: counts["RUNNING"] == victim.vcpus, 60)
    victim.kill("agent")
    attempts = check_the_ledger(task, 24)
    assert attempts.count(2) >= victim.vcpus, "what it ran was begun again"
    for job in task.jobs():
        assert job["failureCode"] is None


@pytest.mark.parametrize("part", ["server", "agent-server", "postgres", "s3", "registry"])
def test_another_part_killed(victim: Stack, work: tuple[Api, Json], part: str) -> None:
    task = start_jobs(work, part, batches=4, size=15, seconds=0.3)
    wait_for_some(task, 10)
    victim.kill(part)
    attempts = check_the_ledger(task, 60)
    assert attempts.count(1) == 60, "the agent lived, so no job had to be tried again"


def test_chaos_on_purpose(victim: Stack, work: tuple[Api, Json]) -> None:
    task = start_jobs(work, "chaos", batches=10, size=20, seconds=0.3)
    wait_for_some(task, 10)
    only = [word for name in ("kill server", "kill agent", "kill s3", "stop") for word in ("--only", name)]
    words = ("--seconds", "12", "--seed", "3", "--pause", "1", "--output", "json")
    report = json.loads(victim.command("chaos", "--yes", *words, *only, seconds=280))
    assert len(report["faults"]) >= 3 and report["recovered_seconds"] is not None
    assert [finding for finding in report["findings"] if finding["broken"]] == []
    check_the_ledger(task, 200)


def test_a_drained_agent_ends_after_its_jobs_and_stays_down(victim: Stack, work: tuple[Api, Json]) -> None:
    task = start_jobs(work, "drain", batches=1, size=victim.vcpus + 4, seconds=3)
    wait_until(task.counts, lambda counts: counts["RUNNING"] == victim.vcpus, 60)
    victim.command("agent", "drain")
    counts = task.counts()
    assert (counts["SUCCEEDED"], counts["RUNNABLE"]) == (victim.vcpus, 4), counts
    gone = victim.process("agent")
    assert gone is None or not gone.is_alive()
    victim.command("down")
    victim.up()
    attempts = check_the_ledger(task, victim.vcpus + 4)
    assert attempts.count(1) >= victim.vcpus
