"""Whether a soak did what its seed says: every job, its end, its exit code, its attempts, and the logs of a sample."""

import random
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from uuid import UUID

import asyncpg

from bench.soak.place import Place
from bench.soak.workload import BATCH_SIZE, KINDS, Kind, kind_of, lines_of
from openhtc.bench.figures import Say
from openhtc.client.models import Job
from openhtc.domain.attempts import CANCELLED_REASON
from openhtc.domain.enums import JobStatus, ViewType
from openhtc.services.verification import Verification
from openhtc.storage.database import Database

_TOLD = 20
_SIGNAL_CODE = 128
_ATTEMPTS = """
SELECT outcome, count(*)::int AS n FROM attempts JOIN batches USING (batch_no)
WHERE task_id::text = $1 GROUP BY outcome
"""
_LINES = """
SELECT id::text AS batch, idx, sum(lines)::bigint AS lines FROM log_chunks JOIN batches USING (batch_no)
WHERE task_id::text = $1 GROUP BY id, idx
"""


@dataclass
class Findings:
    """``problems``: sentences, the first of them; empty when all is as it should be."""

    jobs: int = 0
    by_kind: Counter[str] = field(default_factory=Counter)
    attempts_kept: int = 0
    attempts_expected: int = 0
    lines_kept: int = 0
    logs_read: int = 0
    lines_read: int = 0
    problems: list[str] = field(default_factory=list)

    def add(self, problem: str) -> None:
        if len(self.problems) < _TOLD:
            self.problems.append(problem)


@dataclass(frozen=True, slots=True)
class Workload:
    """What was submitted: batch n has its id at place n. ``only``: every job is of this kind."""

    seed: int
    jobs: int
    batches: list[str]
    only: Kind | None = None

    def kind(self, job: int) -> Kind:
        return self.only or kind_of(self.seed, job)

    def words(self, batch: int) -> list[str]:
        """What the worker is to be told in this batch."""
        return ["soak", str(self.seed), str(batch), *([str(KINDS.index(self.only))] if self.only else [])]


async def verify(
    place: Place, workload: Workload, found: Findings, *, complete: bool, logs_of_each: int, say: Say
) -> None:
    """``complete``: every job has ended by itself; otherwise only what has ended is looked at."""
    numbers = {batch: number for number, batch in enumerate(workload.batches)}
    say("looking at every job")
    recount = _look_at_jobs(place, workload, numbers, complete, found)
    _compare_counts(place, workload, recount, complete, found)
    if complete:
        say("counting attempts")
        await _count_attempts(place, workload, found)
        say("counting lines")
        await _count_lines(place, workload, numbers, found)
        say("asking the database whether it keeps its promises")
        await _keeps_promises(place, found)
        say("reading logs")
        for job in _sample(workload, logs_of_each):
            _read_log(place, workload, job, found)


def _look_at_jobs(
    place: Place, workload: Workload, numbers: dict[str, int], complete: bool, found: Findings
) -> Counter[JobStatus]:
    """Each job is listed once, with the end that its kind has; only an incomplete run may have cancelled some."""
    seen = bytearray(len(workload.batches) * BATCH_SIZE)
    recount: Counter[JobStatus] = Counter()
    for job in place.client.jobs(place.project_id, place.task_id, view=ViewType.FULL):
        number = numbers[job.job_uuid.rsplit(":", 1)[0]] * BATCH_SIZE + job.index
        seen[number] += 1
        recount[job.status] += 1
        if job.status.is_terminal and (complete or job.status_reason != CANCELLED_REASON):
            kind = workload.kind(number)
            found.by_kind[kind.name] += 1
            _look_at_end(job, number, kind, found)
    found.jobs = sum(seen)
    most = max(seen, default=0)
    if found.jobs != workload.jobs or most > 1:
        found.add(f"{found.jobs} jobs are listed, {workload.jobs} were submitted, one {most} times")
    return recount


def _look_at_end(job: Job, number: int, kind: Kind, found: Findings) -> None:
    code = job.container.exit_code if job.container is not None else None
    expected = _exit_code(kind)
    if job.status is not kind.status or (expected is not None and code != expected):
        found.add(
            f"job {number} ({kind.name}) ended as {job.status} with {code}, expected {kind.status}, {expected}"
        )


def _exit_code(kind: Kind) -> int | None:
    """None when any will do."""
    if kind.times_out:
        return None
    if kind.signal:
        return _SIGNAL_CODE + kind.signal
    return 0 if kind.only_first_attempt else kind.exit_code


def _compare_counts(
    place: Place, workload: Workload, recount: Counter[JobStatus], complete: bool, found: Findings
) -> None:
    """The counters are those of the listing, and those that the seed gives."""
    counters = Counter({status: n for status, n in place.summary().job_statuses.items() if n})
    if counters != recount:
        found.add(f"the summary counts {dict(counters)}, the listing {dict(recount)}")
    if complete:
        expected = Counter(workload.kind(job).status for job in range(workload.jobs))
        if counters != expected:
            found.add(f"the summary counts {dict(counters)}, the seed gives {dict(expected)}")


async def _count_attempts(place: Place, workload: Workload, found: Findings) -> None:
    """Attempts that were tried again are kept; a node that failed a job would show here."""
    found.attempts_expected = sum(workload.kind(job).attempts - 1 for job in range(workload.jobs))
    rows = await _ask(place, _ATTEMPTS)
    found.attempts_kept = sum(row["n"] for row in rows)
    if found.attempts_kept != found.attempts_expected:
        outcomes = {row["outcome"]: row["n"] for row in rows}
        found.add(f"{found.attempts_expected} attempts should have been tried again; kept are {outcomes}")


async def _ask(place: Place, statement: str) -> list[asyncpg.Record]:
    """The answer about the task."""
    connection = await asyncpg.connect(place.stack.database_url)
    try:
        return list(await connection.fetch(statement, place.task_id))
    finally:
        await connection.close()


async def _count_lines(place: Place, workload: Workload, numbers: dict[str, int], found: Findings) -> None:
    """Every job's log is as long as its kind says."""
    lengths = array("q", [0]) * (len(workload.batches) * BATCH_SIZE)
    for row in await _ask(place, _LINES):
        lengths[numbers[row["batch"]] * BATCH_SIZE + row["idx"]] = row["lines"]
    found.lines_kept = sum(lengths)
    for job, length in enumerate(lengths[: workload.jobs]):
        kind = workload.kind(job)
        if length != kind.lines * kind.attempts:
            found.add(
                f"the log of job {job} ({kind.name}) has {length} lines, not {kind.lines * kind.attempts}"
            )


async def _keeps_promises(place: Place, found: Findings) -> None:
    """What `openhtc verify` says of the task."""
    database = await Database.connect(place.stack.database_url, 1)
    try:
        for finding in await Verification(database, database.now).run(UUID(place.task_id), 5):
            for broken in finding.rows:
                found.add(f"{finding.check}: {broken.place}: {broken.problem}")
    finally:
        await database.close()


def _sample(workload: Workload, of_each: int) -> Iterator[int]:
    """Some jobs of each kind, spread over the run."""
    taken: Counter[str] = Counter()
    for job in random.Random(workload.seed).sample(range(workload.jobs), workload.jobs):  # noqa: S311 - no secret
        kind = workload.kind(job)
        if taken[kind.name] < of_each:
            taken[kind.name] += 1
            yield job


def _read_log(place: Place, workload: Workload, job: int, found: Findings) -> None:
    """Every line of every attempt, in order, with increasing times."""
    kind, last = workload.kind(job), ""
    job_id = f"{workload.batches[job // BATCH_SIZE]}:{job % BATCH_SIZE}"
    expected, count = lines_of(job, kind), 0
    for line in place.client.logs(place.project_id, place.task_id, job_id, page_size=10_000):
        if line.message != next(expected, None) or line.timestamp <= last:
            found.add(f"the log of job {job} ({kind.name}) has a wrong line {count}: {line.message}")
            return
        last, count = line.timestamp, count + 1
    if next(expected, None) is not None:
        found.add(f"the log of job {job} ({kind.name}) ends after {count} lines")
    found.logs_read, found.lines_read = found.logs_read + 1, found.lines_read + count
