"""How fast the API answers questions about a million jobs while others run."""

import random
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from bench.control_plane.load_agent import LeasedJob, LoadAgent, end_of, now_micros
from bench.control_plane.measure import CpuMeter
from bench.control_plane.paced import PacedAgent
from bench.control_plane.turns import Load, load_agents, measured_drain
from bench.control_plane.workplace import Workplace
from openhtc.agent.log_store import LogStore
from openhtc.bench.figures import Figures, Say, milliseconds
from openhtc.bench.reader import Answered, Question, read
from openhtc.domain.enums import JobStatus
from openhtc.domain.logs import Stretch, pack_lines
from openhtc.domain.work import LogChunk, Report

HELP = "status, page, summary, events, logs and rare statuses with a million jobs stored while jobs run"

_LOGGED = 2000
"""The first jobs have log lines, in objects of 500 jobs each."""
_LINES = 10
_FAILED_OF = 400
"""One of so many of those fails: the rare status."""
_SETTLE_SECONDS = 3.0


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--jobs", type=int, default=1_000_000, help="jobs to store")
    parser.add_argument("--finished", type=int, default=50_000, help="how many of them have ended before")
    parser.add_argument("--rate", type=float, default=500, help="jobs a second that run meanwhile; 0: none")
    parser.add_argument("--requests", type=int, default=300, help="requests of each kind")


def run(place: Workplace, options: Namespace, say: Say) -> Figures:
    task = place.new_task("reads")
    batches = place.submit(task, options.jobs)
    failed = _store(place, options.finished, say)
    ended = options.finished
    questions = list(_questions(f"/api/v1/htc/projects/{place.project_id}/tasks/{task}", batches, options))
    with load_agents(place, 1) as agents, PacedAgent(agents[0], options.rate) as paced:
        time.sleep(_SETTLE_SECONDS)
        say(f"{len(questions)} requests while {options.rate:g} jobs a second run")
        meter, before, began = CpuMeter(place.stack), paced.ended, time.monotonic()
        answers = _in_a_process_of_its_own(place, questions)
        lasted = time.monotonic() - began
        rate, used = (paced.ended - before) / lasted, meter.seconds()
    ended += paced.ended
    place.verify(
        task,
        {
            JobStatus.RUNNABLE: options.jobs - ended,
            JobStatus.SUCCEEDED: ended - failed,
            JobStatus.FAILED: failed,
        },
    )
    return {
        "jobs": options.jobs,
        "finished_before": options.finished,
        "jobs_per_second_meanwhile": round(rate, 1),
        "requests_per_second": round(len(questions) / lasted, 1),
        "cpu_share": {part: round(seconds / lasted, 3) for part, seconds in used.items()},
        "answers": {kind: _figures(found) for kind, found in answers.items()},
    }


def _figures(found: Answered) -> Figures:
    return {**milliseconds(found.seconds), "items": max(found.items)}


def _store(place: Workplace, finished: int, say: Say) -> int:
    """Finish so many jobs, the first of them with log lines; how many failed."""
    say("writing log lines")
    with load_agents(place, 4) as agents:
        store = LogStore(agents[0].session)
        failed = sum(_log(agents[0], store) for _ in range(0, _LOGGED, 500))
        measured_drain(place, agents, finished - _LOGGED, Load(len(agents), 250), say)
    return failed


def _log(agent: LoadAgent, store: LogStore) -> int:
    """Run 500 jobs whose lines lie in one object; how many failed."""
    jobs = agent.lease(500)
    assert len(jobs) == 500, f"{len(jobs)} jobs were leased of a queue that is long"
    started = now_micros()
    lines = [
        Stretch(
            started * 1000 + n * 1_000_000,
            1,
            b"line %d of %d, step %d of a calculation\n" % (n, _LINES, n * n),
        )
        for n in range(_LINES)
    ]
    packed = pack_lines(lines)
    key = store.put(packed * len(jobs))
    chunks = [_chunk(job, key, number * len(packed), len(packed), lines) for number, job in enumerate(jobs)]
    ends = [end_of(job, started, now_micros(), exit_code=int(job.index % _FAILED_OF == 1)) for job in jobs]
    agent.report(Report(jobs=ends, chunks=chunks))
    return sum(end.exit_code == 1 for end in ends)


def _chunk(job: LeasedJob, key: str, offset: int, length: int, lines: list[Stretch]) -> LogChunk:
    return LogChunk(
        job.lease, job.batch, job.index, key, offset, length, len(lines), lines[0].first_ns, lines[-1].last_ns
    )


def _questions(task: str, batches: list[str], options: Namespace) -> Iterator[Question]:
    """All kinds in turns, so that each meets the same conditions."""
    choice = random.Random(4)  # noqa: S311 (the same questions every time)
    logged, finished = _LOGGED // 1000, options.finished // 1000
    for _ in range(options.requests):
        index = choice.randrange(1000)
        yield "status", f"{task}/jobs/{choice.choice(batches)}:{index}"
        yield "page", f"{task}/jobs"
        yield "page of 1000", f"{task}/jobs?pageSize=1000"
        yield "simple page", f"{task}/jobs?viewType=SIMPLE"
        yield "RUNNING", f"{task}/jobs?status=RUNNING"
        yield "FAILED", f"{task}/jobs?status=FAILED"
        yield "summary", f"{task}/summary-statistics"
        yield "events", f"{task}/jobs/{choice.choice(batches[:finished])}:{index}/events"
        yield "logs", f"{task}/jobs/{choice.choice(batches[:logged])}:{index}/logs"


def _in_a_process_of_its_own(place: Workplace, questions: list[Question]) -> dict[str, Answered]:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(read, place.stack.origin, place.client.bearer_token(), questions).result()
