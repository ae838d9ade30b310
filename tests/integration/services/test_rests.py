"""A job whose attempt failed rests before the next one."""

import asyncio
from datetime import timedelta

import pytest

from openhtc.domain.attempts import LONGEST_REST_SECONDS
from openhtc.domain.enums import Outcome
from openhtc.domain.identity import User
from openhtc.domain.work import Capacity, LeaseRequest

from ..world import Batch, World, caller
from .conftest import Core

RUNNABLE, FAILED = 2, 6
ROOM = LeaseRequest(Capacity(100, 10**5, 10**3), 100, 0)


async def failed(
    world: World, outcome: Outcome = Outcome.EXITED, size: int = 1, user: User | None = None
) -> tuple[Batch, int]:
    """A batch whose first job has failed once, and its agent."""
    batch = await world.batch(await world.task(user), size, max_retries=10)
    agent = await world.agent()
    (grant,) = await world.grant(agent, (batch, 1))
    await world.report(agent, world.start(grant), world.end(grant, outcome, exit_code=1))
    return batch, agent


async def test_nobody_gets_it_until_it_has_rested(core: Core) -> None:
    world = core.world
    _, agent = await failed(world, size=2)
    assert [work.index for work in (await core.leasing.lease(agent, ROOM)).jobs] == [1]
    world.clock.step(0.9)
    assert await world.rest_end.run_once() == 0
    assert (await core.leasing.lease(agent, ROOM)).jobs == []
    world.clock.step(0.1)
    assert await world.rest_end.run_once() == 1
    (work,) = (await core.leasing.lease(agent, ROOM)).jobs
    assert (work.index, work.attempt) == (0, 2)
    await world.check_counters()


async def test_each_rest_is_twice_as_long_up_to_a_minute(world: World) -> None:
    batch = await world.batch(await world.task(), max_retries=10)
    agent = await world.agent()
    rests = []
    for _ in range(10):
        (grant,) = await world.grant(agent, (batch, 1))
        world.clock.step(100)
        await world.report(agent, world.end(grant, exit_code=1, at=-50))
        job = await world.job(batch)
        assert job["queued_at"] == world.clock() - timedelta(seconds=50)
        rests.append((job["rests_until"] - world.clock()).total_seconds())
        world.clock.step(LONGEST_REST_SECONDS)
        assert await world.rest_end.run_once() == 1
        waits = (await world.job(batch))["queued_at"]
        assert waits == job["rests_until"], "its rest is no waiting"
    assert rests == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]


@pytest.mark.parametrize("outcome", [Outcome.HANDED_BACK, Outcome.NODE_FAULT])
async def test_what_the_first_node_did_costs_no_time(world: World, outcome: Outcome) -> None:
    batch, agent = await failed(world, outcome)
    assert len(await world.grant(agent, (batch, 1))) == 1


async def test_a_node_that_spoils_everything_does_not_use_up_all_attempts_at_once(world: World) -> None:
    batch, agent = await failed(world, Outcome.NODE_FAULT)
    (grant,) = await world.grant(agent, (batch, 1))
    await world.report(agent, world.end(grant, Outcome.NODE_FAULT))
    assert await world.grant(agent, (batch, 1)) == []


async def test_other_jobs_go_before_those_that_rest(core: Core) -> None:
    world = core.world
    tired, agent = await failed(world)
    fresh = await world.batch(tired.task)
    (work,) = (await core.leasing.lease(agent, ROOM)).jobs
    assert (work.batch, work.index) == (fresh.no, 0)


async def test_it_is_seen_as_waiting_and_says_until_when(core: Core) -> None:
    user = await core.world.user()
    batch, _ = await failed(core.world, user=user)
    ids = str(batch.task.project), str(batch.task.id)
    job = await core.jobs.get(caller(user), *ids, f"{batch.id}:0")
    assert job.job_status == "RUNNABLE"
    assert job.reason == "waiting: attempt 2 is to begin at 2026-03-01T12:00:01Z or later"


async def test_a_server_whose_clock_is_behind_ends_no_rest_early(world: World) -> None:
    batch = await world.batch(await world.task(), max_retries=10)
    agent = await world.agent()
    for _ in range(7):
        await world.end_rests()
        (grant,) = await world.grant(agent, (batch, 1))
        await world.report(agent, world.end(grant, exit_code=1))
    world.clock.step(-5)
    assert await world.rest_end.run_once() == 0


async def test_nobody_waits_for_a_job_that_somebody_holds(world: World) -> None:
    batch, _ = await failed(world)
    world.clock.step(1)
    async with world.database.transaction() as connection:
        await connection.execute("SELECT 1 FROM jobs WHERE batch_no = $1 FOR UPDATE", batch.no)
        async with asyncio.timeout(5):
            assert await world.rest_end.run_once() == 0
    assert await world.rest_end.run_once() == 1


async def test_very_many_that_fail_together_go_on_together(world: World) -> None:
    """More than are moved at once; the statistics are of a time when nobody rested."""
    batches = await world.batches(await world.task(), [1000] * 12)
    await world.rows("ANALYZE jobs")
    rested = world.clock()
    await world.rows("UPDATE jobs SET attempt = 1, rests_until = $1", rested)
    assert await world.rest_end.run_once() == 12_000
    assert set(await world.statuses(batches[0])) == {RUNNABLE}
    await world.check_counters()


async def test_what_a_server_that_knows_no_rests_did_to_one_is_mended(world: World) -> None:
    """It leased a job that rested, beside others of its batch."""
    batch, agent = await failed(world, size=2)
    await world.rows(
        "UPDATE jobs SET status = 3, attempt = 2, lease = 99, agent_no = $1, leased_at = queued_at WHERE idx = 0",
        agent,
    )
    await world.check_counters()
    world.clock.step(1)
    assert await world.rest_end.run_once() == 1
    await world.check_counters()
    assert (await world.job(batch))["lease"] == 99


async def test_a_clock_that_goes_back_keeps_nobody_resting(world: World) -> None:
    await failed(world)
    world.clock.step(-3600)
    assert await world.rest_end.run_once() == 1
    await world.check_counters()


async def test_a_rest_ends_with_a_cancellation(world: World) -> None:
    batch, _ = await failed(world)
    await world.cancel(batch.task)
    assert await world.statuses(batch) == [FAILED]
    world.clock.step(LONGEST_REST_SECONDS)
    assert await world.rest_end.run_once() == 0
    await world.check_counters()


async def test_pages_of_runnable_jobs_have_it(core: Core) -> None:
    """Its batch has none that a node could have."""
    batch, _ = await failed(core.world)
    rows = await core.world.rows(
        "SELECT found_idx FROM page_of_jobs($1, 0, -1, NULL, 2::smallint, NULL, NULL, 10)", batch.task.id
    )
    assert [row["found_idx"] for row in rows] == [0]
