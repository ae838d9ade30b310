"""What happens at the same time, forced by holding the locks from a second connection."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import asyncpg
import pytest
import stamina.instrumentation

from openhtc.domain.enums import Outcome
from openhtc.domain.errors import Unauthorized
from openhtc.storage import jobs, leasing
from openhtc.storage.database import Connection

from ..world import LEASE_SECONDS, World, until_blocked

Connect = Callable[[], Awaitable[asyncpg.Connection]]
RUNNABLE, STARTING, SUCCEEDED, FAILED = 2, 3, 5, 6


@pytest.fixture
def retries() -> Iterator[list[str]]:
    """One entry for each transaction that collided and was run again."""
    seen: list[str] = []

    def note(details: stamina.instrumentation.RetryDetails) -> None:
        seen.append(type(details.caused_by).__name__)

    stamina.instrumentation.set_on_retry_hooks([note])
    yield seen
    stamina.instrumentation.set_on_retry_hooks(None)


async def test_a_lease_passes_over_jobs_that_another_transaction_holds(
    world: World, connect: Connect
) -> None:
    batch = await world.batch(await world.task(), 6)
    agent = await world.agent()
    other = await connect()
    async with other.transaction():
        await other.fetch("SELECT 1 FROM jobs WHERE idx IN (0, 1, 3) FOR UPDATE")
        granted = await asyncio.wait_for(world.grant(agent, (batch, 2)), 10)
    assert [grant.idx for grant in granted] == [2, 4]


async def test_invariant_2_two_leases_at_once_share_no_job(world: World, connect: Connect) -> None:
    batch = await world.batch(await world.task(), 6)
    first, second = await world.agent(), await world.agent()
    other = await connect()
    transaction = other.transaction()
    await transaction.start()
    mine = await leasing.lease_jobs(other, [(batch.no, 4)], first, world.clock())
    waiting = asyncio.create_task(world.grant(second, (batch, 4)))
    await until_blocked(world)  # at the counters of the batch, with its jobs already in hand
    await transaction.commit()
    theirs = await waiting
    assert sorted(grant.idx for grant in mine) == [0, 1, 2, 3]
    assert [grant.idx for grant in theirs] == [4, 5]
    await world.check_counters()


async def test_invariant_2_many_leases_at_once_share_no_job(world: World) -> None:
    batches = await world.batches(await world.task(), [25] * 4)
    agents = [await world.agent() for _ in range(8)]
    found = await asyncio.gather(
        *(world.grant(agent, *((batch, 4) for batch in batches)) for agent in agents)
    )
    places = [(grant.batch_no, grant.idx) for granted in found for grant in granted]
    assert len(places) == len(set(places))
    assert len({grant.lease for granted in found for grant in granted}) == len(places)
    await world.check_counters()


async def test_a_cancel_that_meets_a_lease_under_way_marks_the_job(world: World, connect: Connect) -> None:
    task = await world.task()
    batch = await world.batch(task)
    agent = await world.agent()
    other = await connect()
    transaction = other.transaction()
    await transaction.start()
    (grant,) = await leasing.lease_jobs(other, [(batch.no, 1)], agent, world.clock())
    cancelling = asyncio.create_task(world.cancel(task))
    await until_blocked(world)
    await transaction.commit()
    await cancelling

    job = await world.job(batch)
    assert (job["status"], job["lease"]) == (STARTING, grant.lease)
    assert job["cancelled_at"] == world.clock()
    answer = await world.report(agent, held=[grant.lease])
    assert answer.stop == [grant.lease]
    await world.report(agent, world.end(grant, Outcome.CANCELLED))
    assert await world.statuses(batch) == [FAILED]
    await world.check_counters()


async def test_a_lease_that_meets_a_cancel_under_way_is_told_to_stop(world: World, connect: Connect) -> None:
    task = await world.task()
    batch = await world.batch(task, 2)
    agent = await world.agent()
    other = await connect()
    async with other.transaction():
        await world.cancelling.mark(other, task.id)
        leasing_one = asyncio.create_task(world.grant(agent, (batch, 1)))
        await until_blocked(world)  # it has seen the batch as it was before
    (grant,) = await leasing_one
    assert await world.grant(agent, (batch, 1)) == [], "the cancellation holds before any job was touched"
    await world.cancelling.begin(task.id)
    answer = await world.report(agent, held=[grant.lease])
    assert answer.stop == [grant.lease]
    assert await world.statuses(batch) == [STARTING, FAILED]
    await world.check_counters()


async def test_a_cancel_that_two_servers_carry_out_is_done_once(world: World, connect: Connect) -> None:
    task = await world.task()
    batches = await world.batches(task, [3, 3])
    other = await connect()
    async with other.transaction():
        await world.cancelling.mark(other, task.id)
    async with other.transaction():
        await other.execute("SELECT 1 FROM jobs FOR UPDATE")
        both = [asyncio.create_task(world.cancelling.run_once()) for _ in range(2)]
        await until_blocked(world)  # one of them; the other looks again and again
    assert sorted([await each for each in both]) == [0, 2]
    for batch in batches:
        assert await world.statuses(batch) == [FAILED] * 3
    assert await world.rows("SELECT 1 FROM batches WHERE cancelling_at IS NOT NULL") == []
    await world.check_counters()


async def test_a_cancel_that_meets_an_end_under_way_changes_nothing(world: World, connect: Connect) -> None:
    task = await world.task()
    batch = await world.batch(task)
    agent = await world.agent()
    (grant,) = await world.grant(agent, (batch, 1))
    other = await connect()
    async with other.transaction():
        await other.execute("SELECT 1 FROM jobs FOR UPDATE")
        ending = asyncio.create_task(world.report(agent, world.end(grant)))
        await until_blocked(world)
        cancelling = asyncio.create_task(world.cancel(task))
        await until_blocked(world, 2)
    await ending
    await cancelling
    job = await world.job(batch)
    assert (job["status"], job["cancelled_at"]) in ((SUCCEEDED, None), (SUCCEEDED, world.clock()))
    await world.check_counters()


async def test_a_cancel_that_meets_a_requeue_under_way_ends_the_job(world: World, connect: Connect) -> None:
    task = await world.task()
    batch = await world.batch(task)
    agent = await world.agent()
    (grant,) = await world.grant(agent, (batch, 1))
    other = await connect()
    async with other.transaction():
        await other.execute("SELECT 1 FROM batches FOR UPDATE")
        returning = asyncio.create_task(world.report(agent, world.end(grant, Outcome.HANDED_BACK)))
        await until_blocked(world)  # the job is moved, its counters are not
        cancelling = asyncio.create_task(world.cancel(task))
        await until_blocked(world, 2)
    await returning
    await cancelling
    assert await world.statuses(batch) == [FAILED]
    assert await world.grant(agent, (batch, 1)) == []
    await world.check_counters()


async def test_an_end_that_is_being_reported_keeps_the_agent_from_expiring(
    world: World, connect: Connect
) -> None:
    batch = await world.batch(await world.task())
    agent = await world.agent()
    (grant,) = await world.grant(agent, (batch, 1))
    world.clock.step(LEASE_SECONDS + 1)
    other = await connect()
    async with other.transaction():
        await other.execute("SELECT 1 FROM jobs FOR UPDATE")
        ending = asyncio.create_task(world.report(agent, world.end(grant)))
        await until_blocked(world)
        assert await asyncio.wait_for(world.expiry.run_once(), 10) == 0
    await ending
    assert await world.statuses(batch) == [SUCCEEDED]
    assert await world.expiry.run_once() == 0


async def test_an_end_that_comes_during_the_expiry_is_too_late(world: World, connect: Connect) -> None:
    batch = await world.batch(await world.task())
    agent = await world.agent()
    (grant,) = await world.grant(agent, (batch, 1))
    world.clock.step(LEASE_SECONDS + 1)
    other = await connect()
    async with other.transaction():
        await other.execute("SELECT 1 FROM jobs FOR UPDATE")
        expiring = asyncio.create_task(world.expiry.run_once())
        await until_blocked(world)
        ending = asyncio.create_task(world.report(agent, world.end(grant)))
        await until_blocked(world, 2)
    assert await expiring == 1
    with pytest.raises(Unauthorized):
        await ending
    assert await world.statuses(batch) == [RUNNABLE]
    await world.check_counters()


async def test_two_keepers_expire_an_agent_once(world: World) -> None:
    batches = await world.batches(await world.task(), [3, 3])
    for _ in range(4):
        await world.grant(await world.agent(), *((batch, 1) for batch in batches))
    world.clock.step(LEASE_SECONDS + 1)
    ended = await asyncio.gather(world.expiry.run_once(), world.expiry.run_once())
    assert sum(ended) == 4
    losses = await world.rows("SELECT sum(losses) AS n FROM jobs")
    assert losses[0]["n"] == 6
    await world.check_counters()


async def test_a_transaction_that_deadlocked_is_run_again(world: World, retries: list[str]) -> None:
    first, second = await world.batches(await world.task(), [1, 1])
    both = asyncio.Barrier(2)
    runs: list[int] = []

    async def lock(connection: Connection, one: int, other: int) -> int:
        statement = "UPDATE batches SET digest = digest || 'x' WHERE batch_no = $1"
        runs.append(one)
        await connection.execute(statement, one)
        if len(runs) <= 2:
            await both.wait()
        await connection.execute(statement, other)
        return one

    done = await asyncio.gather(
        world.database.run(lambda c: lock(c, first.no, second.no)),
        world.database.run(lambda c: lock(c, second.no, first.no)),
    )
    assert done == [first.no, second.no]
    assert len(runs) == 3
    assert retries == ["DeadlockDetectedError"]
    digests = await world.rows("SELECT digest FROM batches")
    assert all(row["digest"].endswith("xx") and not row["digest"].endswith("xxx") for row in digests)


async def test_invariant_4_submissions_at_once_are_all_counted(world: World, retries: list[str]) -> None:
    task, other = await world.task(), await world.task()
    await asyncio.gather(
        *(world.batches(task, [10, 5], group="g") for _ in range(6)),
        *(world.batches(other, [7], group="g") for _ in range(4)),
    )
    async with world.database.connection() as connection:
        counts = await jobs.count_task(connection, task.id)
    assert sum(counts.values()) == 6 * 15
    await world.check_counters()
    assert retries == []


async def test_concurrent_reports_on_the_same_batches_do_not_deadlock(
    world: World, retries: list[str]
) -> None:
    batches = await world.batches(await world.task(), [60] * 6)
    agents = [await world.agent() for _ in range(6)]

    async def life(agent: int) -> None:
        for turn in range(5):
            grants = await world.grant(agent, *((batch, 2) for batch in batches))
            if agent % 2:
                grants.reverse()
            await world.report(agent, *(world.start(grant) for grant in grants))
            outcomes = [Outcome.EXITED, Outcome.HANDED_BACK, Outcome.TIMED_OUT]
            ends = [world.end(g, outcomes[(n + turn + agent) % 3]) for n, g in enumerate(grants)]
            await world.report(agent, *ends, held=[])

    await asyncio.gather(*(life(agent) for agent in agents))
    await world.check_counters()
    assert retries == []


async def test_a_submission_under_way_does_not_keep_reports_waiting(world: World, connect: Connect) -> None:
    """Invariant 7: bundles mix tasks, so a wait for one task's row would be a wait for everybody."""
    task = await world.task()
    batch = await world.batch(task)
    agent = await world.agent()
    (grant,) = await world.grant(agent, (batch, 1))
    world.clock.step(10)
    other = await connect()
    async with other.transaction():
        await other.execute("SELECT 1 FROM tasks WHERE id = $1 FOR NO KEY UPDATE", task.id)
        await asyncio.wait_for(world.report(agent, world.end(grant)), 10)
    assert await world.statuses(batch) == [SUCCEEDED]


async def test_reports_leases_and_cancels_at_once_leave_counters_right(world: World) -> None:
    task = await world.task()
    batches = await world.batches(task, [80] * 4, group="g")
    agents = [await world.agent() for _ in range(4)]

    async def life(agent: int) -> None:
        for _ in range(4):
            grants = await world.grant(agent, *((batch, 3) for batch in batches))
            await world.report(agent, *(world.end(grant) for grant in grants))

    async def stop() -> None:
        for _ in range(3):
            await world.cancel(task, "g")

    await asyncio.gather(stop(), *(life(agent) for agent in agents), stop())
    found: list[dict[str, Any]] = await world.rows("SELECT DISTINCT status FROM jobs")
    assert {row["status"] for row in found} <= {SUCCEEDED, FAILED}
    await world.check_counters()
