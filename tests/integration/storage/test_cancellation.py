"""Cancelling very many jobs: decided in one short transaction, carried out in pages."""

import pytest

from openhtc.services import cancelling

from ..world import World

RUNNABLE, STARTING, FAILED = 2, 3, 6


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page holds about five jobs, and the one who asks carries out one page."""
    monkeypatch.setattr(cancelling, "_JOBS_AT_ONCE", 5)
    monkeypatch.setattr(cancelling, "_BEGIN_SECONDS", 0)


@pytest.mark.usefixtures("small_pages")
async def test_what_was_decided_holds_before_it_is_carried_out(world: World) -> None:
    task = await world.task()
    batches = await world.batches(task, [4, 4, 4, 4])
    held = (await world.batches(task, [2], held=True))[0]
    agent = await world.agent()
    (running,) = await world.grant(agent, (batches[3], 1))

    await world.cancel(task)

    assert [await world.statuses(batch) for batch in batches[:3]] == [
        [FAILED] * 4,
        [FAILED] * 4,
        [RUNNABLE] * 4,
    ]
    assert await world.grant(agent, (batches[2], 4), (batches[3], 4)) == []
    later = await world.batch(task)
    assert len(await world.grant(agent, (later, 1))) == 1, "what is submitted afterwards is not cancelled"
    await world.check_counters()

    assert await world.cancelling.run_once() == 3

    assert await world.statuses(batches[3]) == [STARTING, FAILED, FAILED, FAILED]
    assert await world.statuses(held) == [FAILED] * 2
    assert (await world.report(agent, held=[running.lease])).stop == [running.lease]
    assert await world.statuses(later) == [STARTING]
    await world.check_counters()


@pytest.mark.usefixtures("small_pages")
async def test_a_second_cancellation_changes_nothing_of_the_first(world: World) -> None:
    task = await world.task()
    (batch,) = await world.batches(task, [6])
    async with world.database.transaction() as connection:
        await world.cancelling.mark(connection, task.id)
    first = world.clock()
    world.clock.step(5)
    await world.cancel(task)
    assert {row["cancelled_at"] for row in await world.rows("SELECT cancelled_at FROM jobs")} == {first}
    assert await world.statuses(batch) == [FAILED] * 6


@pytest.mark.usefixtures("small_pages")
async def test_only_the_wanted_batches_are_marked(world: World) -> None:
    user, other = await world.user(), await world.user()
    task = await world.task(user)
    mine = await world.batch(task, 6, group="a")
    theirs = await world.batch(task, 6, group="a", created_by=other.id)
    elsewhere = await world.batch(task, 6, group="b")
    await world.cancel(task, "a", user.id)
    assert await world.cancelling.run_once() == 0
    assert await world.statuses(mine) == [FAILED] * 6
    assert await world.statuses(theirs) == await world.statuses(elsewhere) == [RUNNABLE] * 6
    await world.check_counters()


@pytest.mark.usefixtures("small_pages")
async def test_one_task_does_not_wait_for_the_pages_of_another(world: World) -> None:
    large, small = await world.task(), await world.task()
    await world.batches(large, [6] * 4)
    waiting = await world.batch(small, 2)
    await world.cancel(large)
    await world.cancel(small)
    assert await world.statuses(waiting) == [FAILED] * 2
    assert await world.cancelling.run_once() == 3
