"""The verdict: what was accepted, what the service says of it, and what the ledger says, held against each other."""

import asyncio
import json
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import asyncpg

from faults.ledger import Told
from faults.place import DATABASE, LEASE_SECONDS, Place
from faults.workload import Plan, Submitted
from openhtc.domain.attempts import CANCELLED_REASON
from openhtc.domain.enums import Outcome, SortOrder

SUCCEEDED, FAILED = 5, 6
_FREE = (Outcome.NODE_LOST, Outcome.NODE_FAULT, Outcome.HANDED_BACK, Outcome.PREEMPTED)
_KILLED = 137
_LATE_SECONDS = LEASE_SECONDS + 15
"""After its cancellation nothing begins any more, once every agent must have heard of it or lost its lease."""
_CLOCK_SECONDS = 0.05
_HEARD_AGAIN_SECONDS = LEASE_SECONDS + 2.0
"""An agent that can be heard again has been told within so much time of what it lost, and has ended it."""
_LOGS = 400
_ENOUGH_JOBS = 1000
"""For every agent to have some of them."""
_JOBS = """
SELECT b.id::text || ':' || j.idx AS id, b.id::text AS batch, j.status, j.attempt, j.exit_code, j.failure, j.reason,
       j.losses, j.cancelled_at IS NOT NULL AS cancelled, a.name AS agent,
       (SELECT coalesce(sum(lines), 0) FROM log_chunks c WHERE c.batch_no = j.batch_no AND c.idx = j.idx)::int AS lines
FROM jobs j JOIN batches b USING (batch_no) LEFT JOIN agents a USING (agent_no) WHERE b.task_id::text = ANY ($1)
"""
_HISTORY = """
SELECT b.id::text || ':' || a.idx AS id, a.attempt, a.outcome, a.exit_code, a.reason,
       extract(epoch FROM a.ended_at)::float8 AS ended
FROM attempts a JOIN batches b USING (batch_no) WHERE b.task_id::text = ANY ($1) ORDER BY a.attempt
"""


@dataclass
class Findings:
    jobs: int = 0
    unknown_jobs: int = 0
    """Of requests that got no answer and were accepted all the same."""
    statuses: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    """Of attempts that did not end their job."""
    killed: int = 0
    """Attempts that ended with SIGKILL."""
    executions: int = 0
    by_agent: Counter[str] = field(default_factory=Counter)
    """Last attempts."""
    logs_read: int = 0
    violations: list[str] = field(default_factory=list)


def judge(place: Place, submitted: Submitted, unheard: Sequence[tuple[float, float]]) -> Findings:
    """``unheard``: from when to when, since the epoch, an agent could not be heard while its jobs went on."""
    found = Findings()
    jobs, history = asyncio.run(_read(place, list(submitted.tasks.values())))
    told = place.ledger.jobs()
    found.violations += _missing(submitted, jobs)
    for job in jobs.values():
        plan = submitted.batches.get(job["batch"])
        if plan is None:
            found.unknown_jobs += 1
            if job["status"] not in (SUCCEEDED, FAILED):
                found.violations.append(f"{job['id']}, whose submission got no answer, has not ended")
            continue
        found.jobs += 1
        found.statuses[{SUCCEEDED: "SUCCEEDED", FAILED: "FAILED"}.get(job["status"], "UNFINISHED")] += 1
        found.by_agent[job["agent"] or "none"] += 1
        former = history.get(job["id"], [])
        found.outcomes.update(each["outcome"] for each in former)
        codes = [each["exit_code"] for each in former] + [job["exit_code"]]
        found.killed += codes.count(_KILLED)
        found.violations += _wrong_end(job, former, plan)
        found.violations += _wrong_ledger(
            job, former, told.get(job["id"], Told()), _cancelled(submitted, job)
        )
        found.violations += two_at_once(job["id"], told.get(job["id"], Told()), unheard)
        found.violations += _wrong_length(job, plan)
    found.executions = sum(len(runs) for each in told.values() for runs in each.begins.values())
    found.violations += [f"{job} is in the ledger and was never there" for job in told.keys() - jobs.keys()]
    found.violations += _wrong_logs(place, submitted, jobs, found)
    found.violations += _broken(place)
    found.violations += [f"{name} does not serve any more" for name in place.absent()]
    found.violations += _untried(place, found)
    return found


async def _read(
    place: Place, tasks: list[str]
) -> tuple[dict[str, asyncpg.Record], dict[str, list[dict[str, Any]]]]:
    connection = await asyncpg.connect(place.database_url)
    try:
        jobs = {row["id"]: row for row in await connection.fetch(_JOBS, tasks)}
        history: dict[str, list[dict[str, Any]]] = defaultdict(list)
        clock = place.clocks[DATABASE]
        for row in await connection.fetch(_HISTORY, tasks):
            history[row["id"]].append({**row, "ended": clock.earliest(row["ended"])})
    finally:
        await connection.close()
    return jobs, history


def _missing(submitted: Submitted, jobs: dict[str, Any]) -> Iterator[str]:
    for batch, plan in submitted.batches.items():
        for index in range(plan.size):
            if f"{batch}:{index}" not in jobs:
                yield f"{batch}:{index} was accepted and is not there"


def _wrong_end(job: Any, former: Sequence[Any], plan: Plan) -> Iterator[str]:
    """The end, and every attempt before it, is one that the plan or a fault explains."""
    if job["status"] not in (SUCCEEDED, FAILED):
        yield f"{job['id']} has not ended"
        return
    for each in former:
        if each["outcome"] in _FREE:
            continue
        if not _explained(each["attempt"], each["exit_code"], plan) or each["outcome"] != Outcome.EXITED:
            yield f"{job['id']}, attempt {each['attempt']}: {each['outcome']}, {each['exit_code']}, {each['reason']}"
    if job["status"] == SUCCEEDED:
        if job["attempt"] <= plan.fails:
            yield f"{job['id']} succeeded in attempt {job['attempt']}, which ends with 3"
    elif job["cancelled"] and job["failure"] is None and job["reason"] == CANCELLED_REASON:
        if not plan.cancelled:
            yield f"{job['id']} was cancelled by nobody"
    elif not _explained(job["attempt"], job["exit_code"], plan):
        yield f"{job['id']} failed: {job['failure']}, {job['exit_code']}, {job['reason']}, {job['losses']} losses"


def _explained(attempt: int, code: int | None, plan: Plan) -> bool:
    return code == _KILLED or (code == 3 and attempt <= plan.fails)


def _cancelled(submitted: Submitted, job: Any) -> float | None:
    return submitted.cancelled_at.get(submitted.groups[job["batch"]])


def _wrong_ledger(job: Any, former: Sequence[Any], told: Told, cancelled_at: float | None) -> Iterator[str]:
    """No attempt ran twice, none while the one before had its lease, none long after a cancellation; and a success is
    one for the ledger too.
    """
    ended = {each["attempt"]: each["ended"] for each in former}
    for attempt, runs in told.begins.items():
        if len(runs) > 1:
            yield f"{job['id']}, attempt {attempt}, was run {len(runs)} times"
        if attempt > job["attempt"]:
            yield f"{job['id']} has had {job['attempt']} attempts, and attempt {attempt} was run"
        for at in runs.values():
            if attempt - 1 in ended and at < ended[attempt - 1] - _CLOCK_SECONDS:
                yield f"{job['id']}, attempt {attempt}, began while the one before had its lease"
            if cancelled_at is not None and at > cancelled_at + _LATE_SECONDS:
                yield f"{job['id']}, attempt {attempt}, began {at - cancelled_at:.1f} s after its cancellation"
    if job["status"] == SUCCEEDED and not told.ends.get(job["attempt"]):
        yield f"{job['id']} succeeded in attempt {job['attempt']}, and the ledger does not know of it"


def two_at_once(job: str, told: Told, unheard: Sequence[tuple[float, float]]) -> Iterator[str]:
    """No attempt did its work after a later one had begun, but on a node that was given up since nobody could hear it.

    Its work is done in vain then: what it reports is of a lease that is over.
    """
    for attempt, ends in told.ends.items():
        later = [at for other, runs in told.begins.items() if other > attempt for at in runs.values()]
        for at in ends.values():
            excused = any(since <= at <= until + _HEARD_AGAIN_SECONDS for since, until in unheard)
            if later and at > min(later) + _CLOCK_SECONDS and not excused:
                yield f"{job}, attempt {attempt}, ended {at - min(later):.1f} s after a later one had begun"


def _wrong_length(job: Any, plan: Plan) -> Iterator[str]:
    """A job that ended in its first attempt has exactly its lines."""
    if job["attempt"] == 1 and job["status"] == SUCCEEDED and job["lines"] != plan.lines:
        yield f"the log of {job['id']} has {job['lines']} lines, expected {plan.lines}"


def _wrong_logs(place: Place, submitted: Submitted, jobs: dict[str, Any], found: Findings) -> Iterator[str]:
    """Some logs, read as a user does: those of jobs that were tried more than once first."""
    known = [job for job in jobs.values() if job["batch"] in submitted.batches and job["lines"]]
    order = Random(0).sample(known, len(known))  # noqa: S311
    for job in sorted(order, key=lambda job: job["attempt"] == 1)[:_LOGS]:
        plan = submitted.batches[job["batch"]]
        project = place.limited_id if plan.limited else place.project_id
        lines = [
            line.message
            for line in place.client.logs(project, submitted.tasks[project], job["id"], sort=SortOrder.ASC)
        ]
        found.logs_read += 1
        by_attempt: dict[int, list[int]] = defaultdict(list)
        for line in lines:
            words = line.split()
            by_attempt[int(words[0])].append(int(words[1]))
        for attempt, numbers in by_attempt.items():
            if numbers != list(range(len(numbers))):
                yield f"the log of {job['id']}, attempt {attempt}, has the lines {numbers[:20]}"
        if job["status"] == SUCCEEDED and len(by_attempt[job["attempt"]]) != plan.lines:
            yield f"{job['id']}: {len(by_attempt[job['attempt']])} lines of its last attempt, expected {plan.lines}"
        if list(by_attempt) != sorted(by_attempt):
            yield f"the log of {job['id']} mixes its attempts"


def _untried(place: Place, found: Findings) -> Iterator[str]:
    """A run in which somebody had no part says nothing of it."""
    if found.jobs >= _ENOUGH_JOBS:
        yield from (f"{name} ended no job" for name in place.agent_names if not found.by_agent[name])
    for program in (place.server, *place.agents):
        unused = [python for python, starts in program.starts_by_python.items() if not starts]
        yield from (f"{program.name} was never that of {python}" for python in unused)


def _broken(place: Place) -> Iterator[str]:
    """What `openhtc verify --all` finds."""
    words = ["verify", "--all", "--output", "json", "--data", str(place.layout.root)]
    done = subprocess.run(
        [sys.executable, "-m", "openhtc.cli.main", *words], capture_output=True, text=True, check=False
    )
    try:
        findings = json.loads(done.stdout)
    except json.JSONDecodeError:
        yield f"openhtc verify: {done.stdout}{done.stderr}"
        return
    for finding in findings:
        for row in finding["rows"]:
            yield f"openhtc verify: {finding['check']}: {row['place']}: {row['problem']}"
