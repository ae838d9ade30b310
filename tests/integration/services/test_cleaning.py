"""What goes when its time has come, and what stays: jobs and log objects."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import asyncpg
import pytest

from openhtc.domain.enums import Outcome
from openhtc.domain.errors import NotFound
from openhtc.domain.retention import JOBS_KEPT
from openhtc.services import cleaning
from openhtc.services.cleaning import JobRemoval, LogRemoval
from openhtc.services.jobs import Jobs, Wanted

from ..world import World, caller, until_blocked
from .conftest import Far
from .place import Place, new_place

Connect = Callable[[], Awaitable[asyncpg.Connection]]
KEPT = JOBS_KEPT.total_seconds()
DAY = 24 * 3600
SUCCEEDED = 5


@pytest.fixture
async def place(world: World, far: Far) -> Place:
    return await new_place(world, far)


async def test_c36_jobs_go_60_days_after_their_end(place: Place) -> None:
    world, me = place.world, caller(place.user)
    batch = await world.batch(place.task, 3, group="g")
    key = await place.run(batch, 3)
    ids = (str(place.task.project), str(place.task.id))
    jobs = Jobs(world.database, world.cancelling, world.clock)
    world.clock.step(KEPT - 1)
    assert await place.jobs.run_once() == 0
    assert len((await jobs.page(me, *ids, Wanted(), None, 10)).items) == 3
    world.clock.step(1)
    assert await place.jobs.run_once() == 3
    with pytest.raises(NotFound):
        await jobs.get(me, *ids, f"{batch.id}:0")
    assert (await jobs.page(me, *ids, Wanted(), None, 10)).items == []
    assert (await jobs.groups(me, *ids, None, None, 10)).items == []
    assert set((await jobs.counts(me, *ids)).values()) == {0}
    await world.check_counters()
    for table in ("jobs", "batches", "job_counts", "log_chunks", "attempts"):
        assert await place.count(table) == 0, table
    assert await place.stored() == {key}, "the node may be told of later, or its file is needed no more"
    assert await place.logs.run_once() == 1
    assert (await place.stored(), await place.count("log_objects")) == (set(), 0)
    assert (await place.jobs.run_once(), await place.logs.run_once()) == (0, 0)


async def test_each_job_s_time_is_its_own(place: Place) -> None:
    world = place.world
    batch = await world.batch(place.task, 4)
    await place.run(batch)
    world.clock.step(DAY)
    await place.run(batch, 2)
    world.clock.step(KEPT - DAY)
    assert await place.jobs.run_once() == 1
    assert await world.statuses(batch) == [SUCCEEDED, SUCCEEDED, 2]
    assert await place.lines(batch, 1) == [f"line of {batch.no}:1"]
    await world.check_counters()
    world.clock.step(DAY)
    assert await place.jobs.run_once() == 2
    (left,) = await world.rows("SELECT purge_at FROM batches")
    assert left["purge_at"] == world.clock() + timedelta(days=1), "nothing of it has ended"
    grants = await world.grant(place.agent, (batch, 1))
    await place.end(*grants)
    world.clock.step(KEPT)
    assert await place.jobs.run_once() == 1
    assert await place.count("batches") == 0


async def test_a_batch_whose_jobs_end_one_by_one_is_looked_at_by_the_hour(place: Place) -> None:
    world = place.world
    batch = await world.batch(place.task, 3)
    for _ in range(3):
        await place.run(batch)
        world.clock.step(60)
    world.clock.step(KEPT - 180)
    assert await place.jobs.run_once() == 1
    world.clock.step(3599)
    assert await place.jobs.run_once() == 0
    world.clock.step(1)
    assert await place.jobs.run_once() == 2


async def test_a_group_stays_as_long_as_one_of_its_jobs(place: Place) -> None:
    world = place.world
    old = await world.batch(place.task, 2, group="both")
    only = await world.batch(place.task, 1, group="old")
    await place.run(old, 2)
    await place.run(only)
    world.clock.step(KEPT)
    await world.batch(place.task, 1, group="both")
    assert await place.jobs.run_once() == 3
    jobs = Jobs(world.database, world.cancelling, world.clock)
    groups = await jobs.groups(
        caller(place.user), str(place.task.project), str(place.task.id), None, None, 10
    )
    assert [label for label, _ in groups.items] == ["both"]
    assert await place.count("batches") == 1
    await world.check_counters()


async def test_former_attempts_and_cancelled_jobs_go_too(place: Place) -> None:
    world = place.world
    batch = await world.batch(place.task, 2)
    (first,) = await world.grant(place.agent, (batch, 1))
    await world.report(place.agent, world.end(first, Outcome.HANDED_BACK))
    await place.run(batch)
    await world.cancel(place.task)
    assert await place.count("attempts") == 1
    world.clock.step(KEPT)
    assert await place.jobs.run_once() == 2
    assert (await place.count("attempts"), await place.count("jobs")) == (0, 0)


async def test_more_than_a_page(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cleaning, "_CHUNKS", 4)
    monkeypatch.setattr(cleaning, "_JOBS", 5)
    monkeypatch.setattr(cleaning, "_OBJECTS", 1)
    monkeypatch.setattr(cleaning, "_BATCHES", 1)
    world = place.world
    batches = await world.batches(place.task, [3, 9, 1, 1, 1])
    for batch in batches:
        for _ in range(batch.size):
            await place.run(batch)
    world.clock.step(KEPT)
    assert await place.jobs.run_once() == 15
    assert await place.logs.run_once() == 15
    for table in ("jobs", "batches", "job_counts", "log_objects"):
        assert await place.count(table) == 0, table
    assert await place.stored() == set()


async def test_lines_of_other_jobs_keep_an_object(place: Place) -> None:
    world = place.world
    early, late = await world.batches(place.task, [1, 1])
    grants = await world.grant(place.agent, (early, 1), (late, 1))
    await place.write(*grants)
    await place.end(grants[0])
    world.clock.step(10)
    await place.end(grants[1])
    world.clock.step(KEPT - 10)
    assert await place.jobs.run_once() == 1
    assert await place.logs.run_once() == 0
    assert await place.lines(late) == [f"line of {late.no}:0"]
    world.clock.step(3600)
    assert await place.jobs.run_once() == 1
    assert await place.logs.run_once() == 1
    assert await place.stored() == set()


async def test_two_servers_at_once(place: Place) -> None:
    world = place.world
    batches = await world.batches(place.task, [40] * 20)
    for batch in batches:
        await place.run(batch, 40)
    world.clock.step(KEPT)
    others = [JobRemoval(world.database, world.clock) for _ in range(3)]
    removed = await asyncio.gather(place.jobs.run_once(), *(other.run_once() for other in others))
    assert sum(removed) + await place.jobs.run_once() == 800
    logs = [LogRemoval(world.database, place.objects) for _ in range(3)]
    await asyncio.gather(*(each.run_once() for each in logs))
    for table in ("jobs", "batches", "job_counts", "log_objects"):
        assert await place.count(table) == 0, table
    await world.check_counters()


async def test_a_batch_that_another_server_is_at_is_left_to_it(place: Place, connect: Connect) -> None:
    world = place.world
    mine, theirs = await world.batches(place.task, [1, 1])
    await place.run(mine)
    await place.run(theirs)
    world.clock.step(KEPT)
    other = await connect()
    async with other.transaction():
        await other.execute("SELECT 1 FROM batches WHERE batch_no = $1 FOR NO KEY UPDATE", theirs.no)
        assert await asyncio.wait_for(place.jobs.run_once(), 10) == 1
    assert (await world.statuses(mine), await world.statuses(theirs)) == ([], [SUCCEEDED])
    assert await place.jobs.run_once() == 1


async def test_a_report_on_the_same_batch_meanwhile(place: Place, connect: Connect) -> None:
    world = place.world
    batch = await world.batch(place.task, 2)
    await place.run(batch)
    world.clock.step(KEPT)
    place.agent = await world.agent()
    (live,) = await world.grant(place.agent, (batch, 1))
    other = await connect()
    async with other.transaction():
        await other.execute("SELECT 1 FROM batches FOR NO KEY UPDATE")
        ending = asyncio.create_task(place.end(live))
        await until_blocked(world)  # at the counters of the batch, with its job in hand
        assert await asyncio.wait_for(place.jobs.run_once(), 10) == 0
    await ending
    assert await place.jobs.run_once() == 1
    assert await world.statuses(batch) == [SUCCEEDED]
    await world.check_counters()


async def test_a_submission_to_the_same_group_meanwhile(place: Place, connect: Connect) -> None:
    world = place.world
    await place.run(await world.batch(place.task, 1, group="g"))
    world.clock.step(KEPT)
    other = await connect()
    async with other.transaction():
        await other.execute("SELECT 1 FROM tasks FOR NO KEY UPDATE")
        submitting = asyncio.create_task(world.batch(place.task, 2, group="g"))
        await until_blocked(world)
        removing = asyncio.create_task(place.jobs.run_once())
        await until_blocked(world, 2)  # the job is gone, its batch and its counters are not
        assert await place.count("jobs") == 0
    batch = await submitting
    assert await removing == 1
    assert await world.statuses(batch) == [2, 2]
    assert await place.count("batches") == 1
    await world.check_counters()


async def test_an_object_stays_while_a_report_can_name_it(place: Place, connect: Connect) -> None:
    """A job older than the object's last slice may have lines in it that its node has not told of yet."""
    world = place.world
    quick, slow = await world.batches(place.task, [1, 1])
    grants = await world.grant(place.agent, (quick, 1), (slow, 1))
    _, chunks = await place.write(*grants, told=False)
    await world.report(place.agent, chunks[0])
    await place.end(grants[0])
    world.clock.step(KEPT)
    await place.alive()
    assert await place.jobs.run_once() == 1
    assert await world.rows("SELECT slices FROM log_objects") == [{"slices": 0}]
    assert await place.logs.run_once() == 0
    other = await connect()
    async with other.transaction():
        await other.execute("SELECT 1 FROM log_objects FOR UPDATE")
        telling = asyncio.create_task(world.report(place.agent, chunks[1], world.end(grants[1])))
        await until_blocked(world)
        assert await asyncio.wait_for(place.logs.run_once(), 10) == 0
    await telling
    assert await place.logs.run_once() == 0
    assert await place.lines(slow) == [f"line of {slow.no}:0"]
    await world.report(place.agent, *chunks)
    world.clock.step(KEPT)
    assert await place.jobs.run_once() == 1
    assert await place.logs.run_once() == 1
    assert await place.stored() == set()


async def test_a_later_job_of_the_node_keeps_nothing(place: Place) -> None:
    world = place.world
    first, second = await world.batches(place.task, [1, 1])
    await place.run(first)
    world.clock.step(KEPT)
    assert await place.jobs.run_once() == 1
    world.clock.step(1)
    await world.grant(place.agent, (second, 1))
    assert await place.logs.run_once() == 1


async def test_a_crash_between_file_and_row_is_made_good(place: Place) -> None:
    world = place.world
    key = await place.run(await world.batch(place.task))
    world.clock.step(KEPT)
    await place.jobs.run_once()
    await place.objects.removal.remove([key])
    assert await place.logs.run_once() == 1
    assert await place.count("log_objects") == 0


async def test_a_repeated_report_of_what_was_removed_brings_nothing_back(place: Place) -> None:
    world = place.world
    batch = await world.batch(place.task)
    (grant,) = await world.grant(place.agent, (batch, 1))
    _, chunks = await place.write(grant)
    await place.end(grant)
    world.clock.step(KEPT)
    await place.jobs.run_once()
    await place.logs.run_once()
    answer = await world.report(place.agent, *chunks, world.end(grant))
    assert answer.gone == [grant.lease]
    assert (await place.count("log_objects"), await place.count("jobs")) == (0, 0)
    await world.check_counters()


async def test_a_run_ends_before_it_takes_too_long(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cleaning, "RUN_SECONDS", 0.0)
    monkeypatch.setattr(cleaning, "_JOBS", 1)
    world = place.world
    await world.batches(place.task, [1, 1, 1])
    await world.cancel(place.task)
    world.clock.step(KEPT)
    assert [await place.jobs.run_once() for _ in range(4)] == [1, 1, 1, 0]
