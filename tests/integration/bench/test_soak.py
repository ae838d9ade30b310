"""The soak on the running service: what it says is right, and what is wrong it finds."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench.control_plane.stack import Stack as Measured
from bench.soak.parts import wait_until
from bench.soak.place import WORKER, Place, batch, compiled, make_place
from bench.soak.verify import Findings, Workload, verify
from bench.soak.workload import KINDS, MAX_RETRIES, TIMEOUT_SECONDS, Kind, kind_of, lines_of

from ...stack import Stack

ROOT = Path(__file__).parents[3]
SEED = 4

pytestmark = pytest.mark.last


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("worker") / "worker"
    compiled(WORKER, program)
    return program


def expected_end(kind: Kind, attempt: int) -> int:
    if kind.signal:
        return -kind.signal
    return 0 if kind.only_first_attempt and attempt > 1 else kind.exit_code


def ran(worker: Path, job: int, attempt: int, *more: str) -> tuple[int, list[str]]:
    done = subprocess.run(
        [worker, "soak", str(SEED), str(job // 1000), *more],
        env={"AWS_BATCH_JOB_ARRAY_INDEX": str(job % 1000), "AWS_BATCH_JOB_ATTEMPT": str(attempt)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout.splitlines()


def lines_of_attempt(job: int, kind: Kind, attempt: int) -> list[str]:
    every = list(lines_of(job, kind))
    return every[(attempt - 1) * kind.lines : attempt * kind.lines]


def test_the_program_and_the_table_agree_which_job_is_of_which_kind(worker: Path) -> None:
    for job in range(4900, 5200):
        kind = kind_of(SEED, job)
        assert ran(worker, job, 1) == (expected_end(kind, 1), lines_of_attempt(job, kind, 1)), job


@pytest.mark.parametrize("place", range(len(KINDS) - 1), ids=[kind.name for kind in KINDS[:-1]])
def test_the_program_and_the_table_agree_on_every_kind(worker: Path, place: int) -> None:
    kind = KINDS[place]
    for attempt in range(1, kind.attempts + 1):
        found = ran(worker, 7, attempt, str(place))
        assert found == (expected_end(kind, attempt), lines_of_attempt(7, kind, attempt))


@pytest.fixture(scope="module")
def place(stack: Stack) -> Iterator[Place]:
    made = make_place(Measured(stack.data, stays=True), "verified", lambda line: None)
    with made.client:
        yield made


async def test_jobs_that_differ_from_the_seed_are_found(place: Place) -> None:
    jobs = 60
    batches = place.submit(
        [batch("soak", str(SEED), "0", size=jobs, retries=MAX_RETRIES, timeout_seconds=TIMEOUT_SECONDS)]
    )
    wait_until(lambda: place.ended() == jobs, 60)

    async def verified(workload: Workload) -> Findings:
        found = Findings()
        await verify(place, workload, found, complete=True, logs_of_each=2, say=lambda line: None)
        return found

    right = await verified(Workload(SEED, jobs, batches))
    assert (right.problems, right.jobs, right.by_kind.total()) == ([], jobs, jobs)
    assert right.lines_read > 0
    wrong = await verified(Workload(SEED + 1, jobs, batches))
    assert any("expected" in problem for problem in wrong.problems)
    assert any(" lines, not " in problem for problem in wrong.problems)
    fewer = await verified(Workload(SEED, jobs - 1, batches))
    assert any(f"{jobs} jobs are listed" in problem for problem in fewer.problems)


def soak(stack: Stack, folder: Path, jobs: int) -> list[str]:
    files = [
        "--json",
        folder / "figures.json",
        "--samples",
        folder / "samples",
        "--plot",
        folder / "plot.png",
    ]
    command = [sys.executable, "-m", "bench.soak", "run", "--jobs", jobs, "--data", stack.data, *files]
    return [str(word) for word in command]


def test_a_short_soak_is_sampled_checked_and_plotted(stack: Stack, tmp_path: Path) -> None:
    done = subprocess.run(
        [*soak(stack, tmp_path, 1500), "--logs", "3"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads((tmp_path / "figures.json").read_bytes())
    assert (figures["jobs"], figures["ended_by_themselves"], figures["problems"]) == (1500, 1500, [])
    samples = [json.loads(line) for line in (tmp_path / "samples").read_text().splitlines()]
    assert samples[-1]["ended"] == 1500
    assert all(
        samples[-1]["memory_mib"][part] > 0 for part in ("postgres", "s3", "server", "agent-server", "agent")
    )
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_an_interrupted_soak_cancels_the_rest_and_still_reports(stack: Stack, tmp_path: Path) -> None:
    samples = tmp_path / "samples"
    with subprocess.Popen(
        soak(stack, tmp_path, 20_000), cwd=ROOT, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            wait_until(lambda: samples.exists() and len(samples.read_text().splitlines()) >= 3, 60)
        finally:
            os.kill(process.pid, signal.SIGINT)
        assert process.stderr is not None
        said = process.stderr.read()
    figures = json.loads((tmp_path / "figures.json").read_bytes())
    assert (process.returncode, figures["problems"]) == (1, ["interrupted"]), said
    assert 0 < figures["ended_by_themselves"] < figures["jobs"]
