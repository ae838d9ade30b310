"""A model test of the life of jobs: limits, agents, reports, repeats, losses, recalls, cancels, an archive, and a plain
model.
"""

import asyncio
from collections.abc import Awaitable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from openhtc.domain.attempts import LONGEST_REST_SECONDS, MAX_LOSSES
from openhtc.domain.enums import LifecycleStatus, Outcome
from openhtc.domain.errors import InvalidRequest, Unauthorized
from openhtc.domain.identity import Caller
from openhtc.domain.work import JobReport
from openhtc.services.clock import from_micros
from openhtc.services.task_life import TaskLife
from openhtc.services.verification import Verification
from openhtc.storage.database import Database
from openhtc.storage.preemption import recall_jobs

from ..world import LEASE_SECONDS, Batch, Clock, Task, World, caller

T = TypeVar("T")
HELD, RUNNABLE, STARTING, RUNNING, SUCCEEDED, FAILED = 0, 2, 3, 4, 5, 6
RELEASED = (RUNNABLE, STARTING, RUNNING)
LONGEST_REST = timedelta(seconds=LONGEST_REST_SECONDS)
LEASE = timedelta(seconds=LEASE_SECONDS)
CODES = {
    Outcome.EXITED: "ErrorNonZeroContainerExitCode",
    Outcome.TIMED_OUT: "ErrorTimeout",
    Outcome.OUT_OF_MEMORY: "ErrorNotEnoughMemory",
    Outcome.DISK_FULL: "ErrorUnknownFailure",
    Outcome.CANNOT_START: "ErrorStartingContainer",
    Outcome.NODE_LOST: "ErrorInstanceTermination",
    Outcome.NODE_FAULT: "ErrorInfrastructureFault",
}
BEGIN = Clock().now
TABLES = "limits, job_counts, project_metrics, log_chunks, log_objects, attempts, jobs, batches, agents"
COLUMNS = (
    "status",
    "attempt",
    "failures",
    "losses",
    "lease",
    "queued_at",
    "leased_at",
    "started_at",
    "ended_at",
    "cancelled_at",
    "recalled_at",
    "rests_until",
    "exit_code",
    "failure",
)


@dataclass
class Job:
    """What a job's row must say."""

    group: str
    max_retries: int
    queued_at: datetime | None
    status: int = RUNNABLE
    attempt: int = 0
    failures: int = 0
    losses: int = 0
    lease: int | None = None
    agent: int | None = None
    leased_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    cancelled_at: datetime | None = None
    recalled_at: datetime | None = None
    rests_until: datetime | None = None
    exit_code: int | None = None
    failure: str | None = None
    history: list[str] = field(default_factory=list)

    def start(self, at: datetime, now: datetime) -> None:
        assert self.leased_at is not None
        if self.started_at is None:
            self.started_at = max(self.leased_at, min(at, now))
            self.status = RUNNING

    def end(self, outcome: Outcome, code: int | None, at: datetime, now: datetime) -> None:
        earliest = self.started_at or self.leased_at
        assert earliest is not None
        ended = max(earliest, min(at, now))
        success = outcome is Outcome.EXITED and code == 0
        if success:
            self._finish(SUCCEEDED, ended, code, None)
        elif self.cancelled_at is not None or outcome is Outcome.CANCELLED:
            self._finish(FAILED, ended, code, None)
        elif self._costs(outcome):
            self._requeue(outcome, ended)
            if rest := self._rest(outcome):
                self.rests_until = now + timedelta(seconds=rest)
        else:
            self._finish(FAILED, ended, code, CODES[outcome])

    def _costs(self, outcome: Outcome) -> bool:
        """Book the attempt; True when there is another one."""
        if outcome in (Outcome.HANDED_BACK, Outcome.PREEMPTED):
            return True
        if outcome in (Outcome.NODE_LOST, Outcome.NODE_FAULT):
            self.losses += 1
            return self.losses < MAX_LOSSES
        self.failures += 1
        return outcome is not Outcome.TIMED_OUT and self.failures <= self.max_retries

    def _rest(self, outcome: Outcome) -> int:
        """Seconds before the next attempt."""
        if outcome in (Outcome.HANDED_BACK, Outcome.PREEMPTED):
            return 0
        if outcome in (Outcome.NODE_LOST, Outcome.NODE_FAULT):
            return (0, 1, 2, 4, 8, 16, 32, 60, 60)[self.losses - 1]
        return (1, 2, 4)[self.failures - 1]

    def _finish(self, status: int, at: datetime, code: int | None, failure: str | None) -> None:
        self.status, self.ended_at, self.exit_code, self.failure = status, at, code, failure
        self.lease = self.recalled_at = None

    def _requeue(self, outcome: Outcome, at: datetime) -> None:
        self.history.append(outcome.value)
        self.status, self.lease, self.agent = RUNNABLE, None, None
        self.queued_at, self.leased_at, self.started_at, self.recalled_at = at, None, None, None


@dataclass
class Agent:
    number: int
    expires: datetime
    ended: bool = False


@dataclass
class Granted:
    """A lease that was given once; what its agent says of it may come at any time and repeatedly."""

    lease: int
    batch: Batch
    index: int
    started_at: int


class LifeOfJobs(RuleBasedStateMachine):
    def __init__(self, world: World, owner: Caller, task: Task, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.owner, self.life = owner, TaskLife(world.database, world.cancelling, world.clock)
        self.archived = False
        self.world, self.task, self._loop, self.clock = world, task, loop, world.clock
        self.clock.now = BEGIN
        self.jobs: dict[tuple[int, int], Job] = {}
        self.batches: list[Batch] = []
        self.agents: list[Agent] = []
        self.granted: list[Granted] = []
        self.limit: int | None = None
        self.cancelling: dict[int, datetime] = {}
        """Batches whose cancellation is decided and not carried out, since when."""
        self.do(world.rows(f"TRUNCATE {TABLES} RESTART IDENTITY"))
        self.do(world.rows("ALTER SEQUENCE leases RESTART"))
        self.do(world.rows("UPDATE tasks SET archived_at = NULL"))

    def do(self, work: Awaitable[T]) -> T:
        return self._loop.run_until_complete(asyncio.ensure_future(work, loop=self._loop))

    @initialize()
    def begin(self) -> None:
        self.submit(2, 1, "")
        self.new_agent()

    @rule(wanted=st.sampled_from([LifecycleStatus.ARCHIVED, LifecycleStatus.ACTIVE]))
    def archive_or_restore(self, wanted: LifecycleStatus) -> None:
        """What has not ended keeps its task from being archived."""
        unfinished = any(job.ended_at is None for job in self.jobs.values())
        ids = str(self.task.project), str(self.task.id)
        changed = False
        with suppress(InvalidRequest):
            self.do(self.life.change(self.owner, *ids, wanted))
            changed = True
        if wanted is LifecycleStatus.ARCHIVED:
            assert changed == (not self.archived and not unfinished)
        else:
            assert changed == self.archived
        if changed:
            self.archived = wanted is LifecycleStatus.ARCHIVED

    @precondition(lambda self: not self.archived)
    @rule()
    def close(self) -> None:
        """Everything ends, and then nothing is in the archive's way."""
        self.cancel(None)
        self.carry_out()
        latest = max((agent.expires for agent in self.agents), default=self.clock.now)
        self.time_passes(max(0.0, (latest - self.clock.now).total_seconds()) + 1)
        self.expire()
        self.archive_or_restore(LifecycleStatus.ARCHIVED)
        assert self.archived

    @precondition(lambda self: not self.archived)
    @rule(size=st.integers(1, 3), max_retries=st.integers(0, 2), group=st.sampled_from(["", "a"]))
    def submit(self, size: int, max_retries: int, group: str) -> None:
        held = self.limit is not None
        batch = self.do(self.world.batch(self.task, size, held=held, max_retries=max_retries, group=group))
        self.batches.append(batch)
        for index in range(size):
            job = Job(group, max_retries, None, HELD) if held else Job(group, max_retries, self.clock.now)
            self.jobs[batch.no, index] = job

    @rule(vcpus=st.sampled_from([None, 0, 1, 3]))
    def change_limit(self, vcpus: int | None) -> None:
        """A lower one ends nothing."""
        self.do(self.world.limit(self.task, vcpus))
        self.limit = vcpus

    @rule()
    def admit(self) -> None:
        """Invariant 5: what is released fits the limit; and nothing is held that would fit."""
        self.do(self.world.admission.admit(self.task.workspace))
        found = self.do(self.world.rows("SELECT batch_no, idx FROM jobs WHERE status = 2"))
        released = [job for row in found if (job := self.jobs[row["batch_no"], row["idx"]]).status == HELD]
        for job in released:
            job.status, job.queued_at = RUNNABLE, self.clock.now
        used = sum(job.status in RELEASED for job in self.jobs.values())
        held = [
            place
            for place, job in self.jobs.items()
            if job.status == HELD and place[0] not in self.cancelling
        ]
        assert not released or self.limit is None or used <= self.limit
        assert not held or (self.limit is not None and used >= self.limit)

    @precondition(lambda self: len(self.agents) < 5)
    @rule()
    def new_agent(self) -> None:
        self.agents.append(Agent(self.do(self.world.agent()), self.clock.now + LEASE))

    @precondition(lambda self: any(not agent.ended for agent in self.agents))
    @rule(data=st.data(), n=st.integers(1, 4), delay=st.integers(-50, 50))
    def lease(self, data: st.DataObject, n: int, delay: int) -> None:
        agent = data.draw(st.sampled_from([agent for agent in self.agents if not agent.ended]))
        batch = data.draw(st.sampled_from(self.batches))
        rows = [self.jobs[batch.no, index] for index in range(batch.size)]
        waiting = [i for i, job in enumerate(rows) if job.status == RUNNABLE and job.rests_until is None]
        if batch.no in self.cancelling:
            waiting = []
        newest = max((g.lease for g in self.granted), default=0)

        found = self.do(self.world.grant(agent.number, (batch, n)))

        assert [grant.idx for grant in found] == waiting[:n]
        for grant in found:
            job = self.jobs[batch.no, grant.idx]
            job.attempt += 1
            job.status, job.lease, job.agent = STARTING, grant.lease, agent.number
            assert job.queued_at is not None
            job.leased_at = max(self.clock.now, job.queued_at)
            assert grant.attempt == job.attempt
            assert grant.lease > newest
            self.granted.append(Granted(grant.lease, batch, grant.idx, self.clock.micros(delay)))

    @precondition(lambda self: self.granted)
    @rule(data=st.data())
    def report(self, data: st.DataObject) -> None:
        agent = data.draw(st.sampled_from(self.agents))
        items = data.draw(st.lists(self._news(), max_size=4))
        held = data.draw(st.none() | st.sets(st.sampled_from([g.lease for g in self.granted])))
        stopping = data.draw(st.sampled_from([False, False, False, True]))
        facts = {"held": None if held is None else sorted(held), "stopping": stopping}
        answer: Any = None
        with suppress(Unauthorized):
            answer = self.do(self.world.report(agent.number, *items, **facts))
        assert (answer is None) == agent.ended
        if not agent.ended:
            agent.expires = self.clock.now + LEASE
        waiting = {job.lease for job in self.jobs.values() if job.status == STARTING}
        gone = self._take(agent.number, items)
        started = {job.lease for job in self.jobs.values() if job.status == RUNNING} & waiting
        known = {job.lease: job for job in self.jobs.values() if job.lease and job.agent == agent.number}
        stop = {lease for lease, job in known.items() if job.cancelled_at is not None}
        recalled = {lease for lease, job in known.items() if job.recalled_at is not None}
        if held is not None:
            gone |= held - set(known) - started
            certain = self.clock.now - (timedelta() if stopping else LEASE)
            self._forget([job for lease, job in known.items() if lease not in held | started], certain)
        if answer is not None:
            assert set(answer.gone) == gone
            assert stop - set(answer.stop) == set()
            assert set(answer.stop) <= stop
            assert set(answer.preempt) == recalled - stop

    def _news(self) -> st.SearchStrategy[JobReport]:
        ends = st.sampled_from([outcome for outcome in Outcome if outcome is not Outcome.NODE_LOST])

        def made(grant: Granted, started: bool, outcome: Outcome | None, code: int, delay: int) -> JobReport:
            return JobReport(
                grant.lease,
                grant.batch.no,
                grant.index,
                started_at=grant.started_at if started or outcome is None else None,
                ended_at=None if outcome is None else self.clock.micros(delay),
                outcome=outcome,
                exit_code=code if outcome is Outcome.EXITED else None,
            )

        recent = st.sampled_from(self.granted[-4:]) | st.sampled_from(self.granted)
        return st.builds(
            made, recent, st.booleans(), st.none() | ends, st.sampled_from([0, 1]), st.integers(-90, 90)
        )

    def _take(self, agent: int, items: list[JobReport]) -> set[int]:
        """Move the model; returns the leases that were over before the report, or another agent's."""
        live = {job.lease for job in self.jobs.values() if job.lease and job.agent == agent}
        for item in items:
            job = self.jobs[item.batch, item.index]
            if job.lease != item.lease or job.agent != agent:
                continue
            if item.started_at is not None:
                job.start(from_micros(item.started_at), self.clock.now)
            if item.outcome is not None:
                assert item.ended_at is not None
                job.end(item.outcome, item.exit_code, from_micros(item.ended_at), self.clock.now)
        return {item.lease for item in items} - live

    def _forget(self, missing: list[Job], certain: datetime) -> None:
        """The agent does not hold these: their grants were lost on the way, unless they may still be under way."""
        for job in missing:
            assert job.leased_at is not None
            if job.leased_at <= certain:
                outcome = Outcome.HANDED_BACK if job.status == STARTING else Outcome.NODE_LOST
                job.end(outcome, None, self.clock.now, self.clock.now)

    @rule(group=st.sampled_from([None, "", "a", "unknown"]))
    def cancel(self, group: str | None) -> None:
        """It is decided; the jobs follow."""
        self.do(
            self.world.database.run(
                lambda connection: self.world.cancelling.mark(connection, self.task.id, group)
            )
        )
        for (batch, _), job in self.jobs.items():
            if job.ended_at is None and group in (None, job.group):
                self.cancelling.setdefault(batch, self.clock.now)

    @rule()
    def carry_out(self) -> None:
        self.do(self.world.cancelling.run_once())
        for (batch, _), job in self.jobs.items():
            at = self.cancelling.get(batch)
            if at is not None and job.ended_at is None and job.cancelled_at is None:
                job.cancelled_at = at
                if job.lease is None:
                    job.status, job.ended_at = FAILED, max(at, job.queued_at or at)
                    job.rests_until = None
        self.cancelling.clear()

    @precondition(lambda self: any(job.lease for job in self.jobs.values()))
    @rule(data=st.data())
    def recall(self, data: st.DataObject) -> None:
        """The keeper wants room; the agent hears of it and does with it what it will."""
        job = data.draw(st.sampled_from([job for job in self.jobs.values() if job.lease]))
        assert job.lease is not None and job.agent is not None
        lease, agent = job.lease, job.agent
        self.do(
            self.world.database.run(
                lambda connection: recall_jobs(connection, [agent], [lease], self.clock())
            )
        )
        if job.cancelled_at is None and job.recalled_at is None:
            job.recalled_at = self.clock.now

    @rule()
    def expire(self) -> None:
        while self.do(self.world.expiry.run_once()):
            pass
        now = self.clock.now
        for agent in self.agents:
            if agent.ended or agent.expires >= now:
                continue
            agent.ended = True
            for job in self.jobs.values():
                if job.lease and job.agent == agent.number:
                    job.end(Outcome.NODE_LOST, None, now, now)

    @rule()
    def end_rests(self) -> None:
        """Also those that were begun before the clock went back."""
        self.do(self.world.rest_end.run_once())
        now = self.clock.now
        for job in self.jobs.values():
            until = job.rests_until
            if until is not None and not now < until <= now + 2 * LONGEST_REST:
                assert job.queued_at is not None
                job.rests_until, job.queued_at = None, max(job.queued_at, min(until, now))

    @rule(seconds=st.sampled_from([-200, -20, -1, 0.000001, 1, LEASE_SECONDS / 2, LEASE_SECONDS + 1]))
    def time_passes(self, seconds: float) -> None:
        self.clock.step(seconds)

    @invariant()
    def rows_are_as_the_model_says(self) -> None:
        """Invariants 1, 2 and 3: every accepted job is there, with one lease at most, in the expected state."""
        found = self.do(self.world.rows("SELECT * FROM jobs"))
        rows = {(row["batch_no"], row["idx"]): {name: row[name] for name in COLUMNS} for row in found}
        assert rows.keys() == self.jobs.keys()
        for place, job in self.jobs.items():
            assert rows[place] == {name: getattr(job, name) for name in COLUMNS}, place

    @invariant()
    def nothing_goes_on_in_an_archive(self) -> None:
        assert not self.archived or all(job.ended_at is not None for job in self.jobs.values())

    @invariant()
    def former_attempts_are_kept(self) -> None:
        found = self.do(
            self.world.rows(
                "SELECT batch_no, idx, array_agg(outcome ORDER BY attempt) AS outcomes FROM attempts GROUP BY 1, 2"
            )
        )
        kept = {(row["batch_no"], row["idx"]): row["outcomes"] for row in found}
        assert kept == {place: job.history for place, job in self.jobs.items() if job.history}

    @invariant()
    def counters_equal_a_recount(self) -> None:
        """Invariant 4."""
        self.do(self.world.check_counters())

    def teardown(self) -> None:
        """What `openhtc verify` says, too slow for every step; nobody does what is due, and the clock goes back."""
        found = self.do(Verification(self.world.database, self.clock).run(None, 5))
        excused = ("overdue_leases", "overdue_cancellations", "overdue_rests", "exceeded_limits")
        assert [each for each in found if each.broken and each.check not in excused] == []


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    found = asyncio.new_event_loop()
    yield found
    found.close()


def test_the_life_of_jobs_follows_the_model(database_url: str, loop: asyncio.AbstractEventLoop) -> None:
    database = loop.run_until_complete(Database.connect(database_url, 2))
    try:
        world = World(database, Clock())
        user = loop.run_until_complete(world.user())
        task = loop.run_until_complete(world.task(user))
        run_state_machine_as_test(
            lambda: LifeOfJobs(world, caller(user), task, loop),
            settings=settings(
                max_examples=60,
                stateful_step_count=40,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                phases=[Phase.reuse, Phase.generate],  # making a failure smaller would take minutes
            ),
        )
    finally:
        loop.run_until_complete(database.close())
