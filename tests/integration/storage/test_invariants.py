"""The invariants of the design that hold in the database alone, by their numbers."""

import asyncpg
import pytest

from openhtc.domain.attempts import MAX_LOSSES
from openhtc.domain.enums import Outcome
from openhtc.domain.errors import Unauthorized
from openhtc.domain.work import JobReport, LogChunk
from openhtc.storage import jobs
from openhtc.storage.database import Connection

from ..world import LEASE_SECONDS, World

RUNNABLE, STARTING, RUNNING, SUCCEEDED, FAILED = 2, 3, 4, 5, 6


async def test_invariant_1_an_accepted_job_exists_and_waits(world: World) -> None:
    batch = await world.batch(await world.task(), 3)
    assert await world.statuses(batch) == [RUNNABLE] * 3
    await world.check_counters()


async def test_invariant_1_a_submission_is_stored_wholly_or_not_at_all(world: World) -> None:
    task = await world.task()

    async def fails_late(connection: Connection) -> None:
        numbers = await jobs.insert_batches(connection, [world.new_batch(task, 5)])
        await jobs.insert_jobs(connection, numbers, [5], world.clock())
        raise RuntimeError("the server dies before it commits")

    with pytest.raises(RuntimeError):
        await world.database.run(fails_late)
    assert await world.rows("SELECT 1 FROM jobs UNION ALL SELECT 1 FROM batches") == []
    await world.check_counters()


async def test_invariant_2_fencing_tokens_only_grow(world: World) -> None:
    batch = await world.batch(await world.task(), 2, max_retries=3)
    agent = await world.agent()
    seen: list[int] = []
    for _ in range(3):
        granted = await world.grant(agent, (batch, 2))
        assert len(granted) == 2
        assert min(g.lease for g in granted) > max(seen, default=0)
        seen += [g.lease for g in granted]
        await world.report(agent, *(world.end(g, exit_code=1) for g in granted))
        assert await world.end_rests() == 2


@pytest.mark.parametrize("outcome", list(Outcome))
async def test_invariant_2_an_old_token_changes_nothing(world: World, outcome: Outcome) -> None:
    batch = await world.batch(await world.task())
    agent = await world.agent()
    (old,) = await world.grant(agent, (batch, 1))
    await world.report(agent, world.end(old, Outcome.HANDED_BACK))
    (new,) = await world.grant(agent, (batch, 1))
    before = await world.job(batch)

    answer = await world.report(agent, world.start(old), world.end(old, outcome, exit_code=0))

    assert answer.gone == [old.lease]
    assert await world.job(batch) == before
    assert before["lease"] == new.lease
    await world.check_counters()


async def test_invariant_2_a_token_of_another_job_changes_nothing(world: World) -> None:
    batch = await world.batch(await world.task(), 2)
    agent = await world.agent()
    first, second = await world.grant(agent, (batch, 2))
    crossed = JobReport(first.lease, batch.no, second.idx, ended_at=1, outcome=Outcome.EXITED, exit_code=0)

    answer = await world.report(agent, crossed)

    assert answer.gone == [first.lease]
    assert await world.statuses(batch) == [STARTING] * 2


async def test_invariant_2_no_agent_speaks_for_the_lease_of_another(world: World) -> None:
    batch = await world.batch(await world.task())
    agent, rogue = await world.agent(), await world.agent()
    (grant,) = await world.grant(agent, (batch, 1))
    before = await world.job(batch)
    stolen = LogChunk(grant.lease, batch.no, 0, f"logs/{agent}/x", 0, 1, 1, first_ns=1, last_ns=1)

    answer = await world.report(rogue, world.start(grant), world.end(grant), stolen)

    assert answer.gone == [grant.lease]
    assert await world.job(batch) == before
    assert await world.rows("SELECT 1 FROM log_chunks") == []
    await world.report(agent, world.end(grant))
    assert await world.statuses(batch) == [SUCCEEDED]


async def test_invariant_2_an_agent_that_was_started_again_tells_what_it_did(world: World) -> None:
    batch = await world.batch(await world.task(), 2)
    first = await world.agent()
    grants = await world.grant(first, (batch, 2))
    second = await world.agent(former=first)
    third = await world.agent(former=second)
    lines = LogChunk(grants[0].lease, batch.no, 0, f"logs/{second}/x", 0, 1, 1, first_ns=1, last_ns=1)
    await world.report(second, lines, world.end(grants[0]))
    assert len(await world.rows("SELECT 1 FROM log_chunks")) == 1, "written in the later life"
    await world.report(third, world.end(grants[1]))
    assert await world.statuses(batch) == [SUCCEEDED] * 2


async def test_invariant_2_a_leased_job_is_not_leased_again(world: World) -> None:
    batch = await world.batch(await world.task(), 3)
    agent, other = await world.agent(), await world.agent()
    mine = await world.grant(agent, (batch, 2))
    theirs = await world.grant(other, (batch, 3))
    assert [g.idx for g in mine] == [0, 1]
    assert [g.idx for g in theirs] == [2]


@pytest.mark.parametrize(
    ("first", "second"),
    [(0, 1), (1, 0)],
    ids=["a success is not undone", "a failure is not undone"],
)
async def test_invariant_3_the_first_end_counts(world: World, first: int, second: int) -> None:
    batch = await world.batch(await world.task())
    agent = await world.agent()
    (grant,) = await world.grant(agent, (batch, 1))
    await world.report(agent, world.end(grant, exit_code=first))
    before = await world.job(batch)
    world.clock.step(5)

    for _ in range(2):
        answer = await world.report(agent, world.end(grant, exit_code=second))
        assert answer.gone == [grant.lease]

    assert await world.job(batch) == before
    assert before["exit_code"] == first
    await world.check_counters()


async def test_invariant_3_a_cancel_does_not_touch_what_has_ended(world: World) -> None:
    task = await world.task()
    batch = await world.batch(task)
    agent = await world.agent()
    (grant,) = await world.grant(agent, (batch, 1))
    await world.report(agent, world.end(grant))
    before = await world.job(batch)
    world.clock.step(1)
    await world.cancel(task)
    assert await world.job(batch) == before


async def test_invariant_3_two_ends_in_one_report_are_one_end(world: World) -> None:
    batch = await world.batch(await world.task())
    agent = await world.agent()
    (grant,) = await world.grant(agent, (batch, 1))
    await world.report(agent, world.end(grant, exit_code=0), world.end(grant, exit_code=9))
    job = await world.job(batch)
    assert (job["status"], job["exit_code"]) == (SUCCEEDED, 0)
    await world.check_counters()


async def test_invariant_4_counters_follow_every_step(world: World) -> None:
    task = await world.task()
    agent = await world.agent()
    for group in ("", "left", "right"):
        batch = await world.batch(task, 6, group=group, max_retries=1)
        await world.check_counters()
        grants = await world.grant(agent, (batch, 5))
        await world.check_counters()
        await world.report(agent, *(world.start(g) for g in grants[:3]))
        await world.check_counters()
        await world.report(
            agent,
            world.end(grants[0]),
            world.end(grants[1], exit_code=2),
            world.end(grants[2], Outcome.TIMED_OUT),
            world.start(grants[3]),
        )
        await world.check_counters()
        if group == "left":
            assert await world.end_rests() == 1
            await world.check_counters()
        await world.cancel(task, group)
        await world.check_counters()
    world.clock.step(LEASE_SECONDS + 1)
    assert await world.expiry.run_once() == 1
    await world.check_counters()


async def test_invariant_4_counters_follow_deleted_rows(world: World) -> None:
    """What retention will do."""
    task = await world.task()
    batch = await world.batch(task, 4, group="g")
    agent = await world.agent()
    grants = await world.grant(agent, (batch, 2))
    await world.report(agent, *(world.end(g) for g in grants))
    await world.rows("DELETE FROM jobs WHERE batch_no = $1 AND idx < 3 RETURNING idx", batch.no)
    await world.check_counters()


async def test_invariant_6_a_lost_node_uses_up_no_retry(world: World) -> None:
    batch = await world.batch(await world.task(), max_retries=1)
    for _ in range(3):
        agent = await world.agent()
        assert len(await world.grant(agent, (batch, 1))) == 1
        world.clock.step(LEASE_SECONDS + 1)
        assert await world.expiry.run_once() == 1
        await world.end_rests()
    agent = await world.agent()
    for expected in (RUNNABLE, FAILED):
        (grant,) = await world.grant(agent, (batch, 1))
        await world.report(agent, world.end(grant, exit_code=1))
        await world.end_rests()
        assert await world.statuses(batch) == [expected]
    job = await world.job(batch)
    assert (job["failures"], job["losses"], job["attempt"]) == (2, 3, 5)
    assert job["failure"] == "ErrorNonZeroContainerExitCode"


async def test_invariant_6_faults_of_a_node_and_handing_back_use_up_no_retry(world: World) -> None:
    batch = await world.batch(await world.task())
    agent = await world.agent()
    for outcome in (Outcome.NODE_FAULT, *(Outcome.HANDED_BACK,) * (2 * MAX_LOSSES), Outcome.NODE_LOST):
        (grant,) = await world.grant(agent, (batch, 1))
        await world.report(agent, world.end(grant, outcome))
        assert await world.statuses(batch) == [RUNNABLE]
    job = await world.job(batch)
    assert (job["failures"], job["losses"]) == (0, 2)


async def test_invariant_6_a_job_that_takes_its_nodes_with_it_ends(world: World) -> None:
    batch = await world.batch(await world.task(), max_retries=10)
    for _ in range(MAX_LOSSES):
        agent = await world.agent()
        (grant,) = await world.grant(agent, (batch, 1))
        await world.report(agent, world.start(grant))
        world.clock.step(LEASE_SECONDS + 1)
        await world.expiry.run_once()
        await world.end_rests()
    job = await world.job(batch)
    assert (job["status"], job["losses"]) == (FAILED, MAX_LOSSES)
    assert job["failure"] == "ErrorInstanceTermination"
    attempts = await world.rows("SELECT outcome FROM attempts WHERE batch_no = $1", batch.no)
    assert [row["outcome"] for row in attempts] == ["NODE_LOST"] * (MAX_LOSSES - 1)


async def test_an_agent_that_was_given_up_is_told_and_its_late_end_changes_nothing(world: World) -> None:
    batch = await world.batch(await world.task())
    agent = await world.agent()
    (grant,) = await world.grant(agent, (batch, 1))
    world.clock.step(LEASE_SECONDS + 1)
    await world.expiry.run_once()
    before = await world.job(batch)
    with pytest.raises(Unauthorized):
        await world.report(agent, world.end(grant))
    assert await world.job(batch) == before
    assert before["status"] == RUNNABLE


async def test_heartbeats_keep_leases(world: World) -> None:
    batch = await world.batch(await world.task())
    agent = await world.agent()
    (grant,) = await world.grant(agent, (batch, 1))
    for _ in range(5):
        world.clock.step(LEASE_SECONDS * 0.9)
        assert await world.expiry.run_once() == 0
        answer = await world.report(agent, held=[grant.lease])
        assert (answer.stop, answer.gone) == ([], [])
    assert await world.statuses(batch) == [STARTING]


async def test_the_database_refuses_rows_that_cannot_be(world: World) -> None:
    batch = await world.batch(await world.task())
    for change in (
        "status = 5",
        "status = 3",
        "status = 4, lease = 1",
        "ended_at = now()",
        "lease = 1",
        "failure = 'ErrorTimeout'",
        "status = 7",
    ):
        with pytest.raises(asyncpg.CheckViolationError):
            await world.rows(f"UPDATE jobs SET {change} WHERE batch_no = $1", batch.no)
