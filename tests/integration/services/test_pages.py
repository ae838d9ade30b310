"""Lists in pages: complete, stable, and deaf to cursors that are not theirs."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from openhtc.domain.enums import JobStatus, SortOrder
from openhtc.domain.errors import InvalidRequest
from openhtc.services.jobs import Wanted
from openhtc.services.pages import Page, encode_cursor

from ..world import caller
from .conftest import Core

List = Callable[[str | None, int], Awaitable[Page[Any]]]


async def lists(core: Core) -> dict[str, List]:
    """Every list, each with seven items or so."""
    world = core.world
    user = await world.user()
    me = caller(user)
    task = await world.task(user)
    for n in range(6):
        await core.projects.create(me, f"p{n}", "", [])
        await core.tasks.create(me, str(task.project), f"t{n}", "")
        await world.batch(task, 1 + n % 3, group=f"g{n}")
    await world.batch(task, 2)
    batch = (await world.rows("SELECT id FROM batches ORDER BY batch_no LIMIT 1"))[0]["id"]
    place = (str(task.project), str(task.id))

    async def events(cursor: str | None, size: int) -> Page[Any]:
        return (await core.jobs.events(me, *place, f"{batch}:0", cursor, size))[1]

    return {
        "projects": lambda cursor, size: core.projects.page(me, False, cursor, size),
        "tasks": lambda cursor, size: core.tasks.page(me, place[0], cursor, size),
        "jobs": lambda cursor, size: core.jobs.page(me, *place, Wanted(), cursor, size),
        "groups": lambda cursor, size: core.jobs.groups(me, *place, None, cursor, size),
        "events": events,
    }


async def test_pages_of_every_size_hold_every_item_once(core: Core) -> None:
    for name, items in (await lists(core)).items():
        whole = await items(None, 1000)
        assert whole.cursor is None
        assert len(whole.items) >= 2, name
        for size in (1, 2, len(whole.items) - 1, len(whole.items)):
            found: list[Any] = []
            cursor: str | None = ""
            while cursor is not None:
                page = await items(cursor, size)
                assert len(page.items) == min(size, len(whole.items) - len(found)), name
                found += page.items
                cursor = page.cursor
            assert found == whole.items, name


@pytest.mark.parametrize(
    "cursor",
    [
        "!",
        "é",
        "AAAA",
        "a" * 5000,
        *map(
            encode_cursor,
            [
                2**63,
                -(2**63) - 1,
                10**30,
                [2**63, 0],
                [0, 2**31],
                [0, -(2**40)],
                [1],
                [1, 2, 3],
                ["1", 2],
                {"a": 1},
                None,
                True,
                1.5,
                "a\0b",
            ],
        ),
    ],
)
async def test_a_cursor_that_is_not_ours_is_refused_or_just_finds_nothing(core: Core, cursor: str) -> None:
    """Never a crash: what cannot be a position of any list is the client's fault."""
    refused = 0
    for items in (await lists(core)).values():
        try:
            await items(cursor, 10)
        except InvalidRequest:
            refused += 1
    assert refused >= 4


async def test_the_log_refuses_the_same(core: Core) -> None:
    user = await core.world.user()
    task = await core.world.task(user)
    batch = await core.world.batch(task)
    place = (str(task.project), str(task.id), f"{batch.id}:0")
    for cursor in ("!", "AAAA", encode_cursor(-2), encode_cursor(2**63), encode_cursor([1, 2])):
        for order in SortOrder:
            with pytest.raises(InvalidRequest, match="pageIndex"):
                await core.logs.page(caller(user), *place, order, cursor, 10)


async def test_a_page_size_below_1_is_refused_and_a_large_one_is_cut(core: Core) -> None:
    for items in (await lists(core)).values():
        for size in (0, -5):
            with pytest.raises(InvalidRequest, match="pageSize"):
                await items(None, size)
        assert (await items(None, 2**31 - 1)).items


async def test_text_that_the_database_cannot_hold_is_refused(core: Core) -> None:
    user = await core.world.user()
    me, task = caller(user), await core.world.task(user)
    place = (str(task.project), str(task.id))
    for attempt in (
        lambda: core.jobs.page(me, *place, Wanted(group="\0"), None, 10),
        lambda: core.jobs.groups(me, *place, ["a", "\0"], None, 10),
        lambda: core.jobs.cancel(me, *place, "\0"),
        lambda: core.tasks.create(me, place[0], "\0", ""),
        lambda: core.tasks.create(me, place[0], "t", "\0"),
        lambda: core.projects.create(me, "\0", "", []),
        lambda: core.submission.submit(me, *place, "\0", []),
    ):
        with pytest.raises(InvalidRequest):
            await attempt()


async def test_filters_of_the_job_list(core: Core) -> None:
    world = core.world
    user = await world.user()
    me, task = caller(user), await world.task(user)
    place = (str(task.project), str(task.id))
    left = await world.batch(task, 3, group="left")
    right = await world.batch(task, 2, group="right")
    agent = await world.agent()
    grants = await world.grant(agent, (left, 2))
    await world.report(agent, world.start(grants[0]), world.end(grants[1]))

    async def found(**narrow: Any) -> list[str]:
        page = await core.jobs.page(me, *place, Wanted(**narrow), None, 100)
        return [str(job.job_id) for job in page.items]

    jobs = {n: f"{left.id}:{n}" for n in range(3)}
    others = [f"{right.id}:0", f"{right.id}:1"]
    assert await found() == [*jobs.values(), *others]
    assert await found(group="left") == list(jobs.values())
    assert await found(group="unknown") == []
    assert await found(status=JobStatus.RUNNING) == [jobs[0]]
    assert await found(status=JobStatus.SUCCEEDED) == [jobs[1]]
    assert await found(status=JobStatus.RUNNABLE) == [jobs[2], *others]
    assert await found(status=JobStatus.POD_FAILED) == []
    assert await found(job_ids=[others[1], jobs[0], jobs[0], "nonsense"]) == [jobs[0], others[1]]
    assert await found(job_ids=["nonsense"]) == []
    assert await found(job_ids=[jobs[0], others[0]], group="right") == [others[0]]
    with pytest.raises(InvalidRequest, match="jobId"):
        await found(job_ids=[jobs[0]] * 1001)


async def test_counts_of_a_task_and_its_groups(core: Core) -> None:
    world = core.world
    user = await world.user()
    me, task = caller(user), await world.task(user)
    place = (str(task.project), str(task.id))
    assert set((await core.jobs.counts(me, *place)).values()) == {0}
    await world.batch(task, 5)
    grouped = await world.batch(task, 4, group="g")
    agent = await world.agent()
    grants = await world.grant(agent, (grouped, 3))
    await world.report(agent, world.start(grants[0]), world.end(grants[1]), world.end(grants[2], exit_code=1))

    whole = await core.jobs.counts(me, *place)
    assert {status.value: n for status, n in whole.items() if n} == {
        "RUNNABLE": 6,
        "RUNNING": 1,
        "SUCCEEDED": 1,
        "FAILED": 1,
    }
    page = await core.jobs.groups(me, *place, None, None, 100)
    assert [label for label, _ in page.items] == ["g"]
    counts = page.items[0][1]
    assert (sum(counts.values()), counts[JobStatus.RUNNABLE], len(counts)) == (4, 1, 7)
    assert (await core.jobs.groups(me, *place, ["other"], None, 100)).items == []
