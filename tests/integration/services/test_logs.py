"""The lines of a job's log, read in pages while they arrive."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openhtc.domain.enums import Outcome, SortOrder
from openhtc.domain.errors import InvalidRequest
from openhtc.domain.logs import LogLine, Stretch, pack_lines
from openhtc.domain.work import LogChunk
from openhtc.services import logs
from openhtc.services.pages import Page, decode_cursor
from openhtc.storage.leasing import Granted, lease_jobs

from ..world import Batch, Task, caller
from .conftest import Core

ASC, DESC = SortOrder.ASC, SortOrder.DESC


class Writer:
    """Writes lines of one job as its agent does: slices of objects that hold more than these."""

    def __init__(self, core: Core, agent: int, grant: Granted) -> None:
        self._core, self._agent, self._grant = core, agent, grant
        self._objects = 0
        self.lines: list[LogLine] = []

    async def write(self, *texts: str, padding: bytes = b"others' lines") -> LogChunk:
        first = len(self.lines)
        fresh = [(1_000 + first + n, text) for n, text in enumerate(texts)]
        data = pack_lines([Stretch(ns, 1, f"{text}\n".encode()) for ns, text in fresh])
        self._objects += 1
        key = f"logs/{self._agent}/{self._grant.lease}-{self._objects}"
        await self._core.far.objects.put(key, padding + data + padding)
        where = (key, len(padding), len(data), len(fresh), fresh[0][0], fresh[-1][0])
        piece = LogChunk(self._grant.lease, self._grant.batch_no, self._grant.idx, *where)
        await self._core.world.report(self._agent, piece)
        self.lines += fresh
        return piece


class Reader:
    def __init__(self, core: Core, user: Any, task: Task, batch: Batch) -> None:
        self._core, self._who = core, caller(user)
        self._place = (str(task.project), str(task.id), f"{batch.id}:0")

    async def page(self, order: SortOrder, cursor: str | None = None, size: int = 100) -> Page[LogLine]:
        return await self._core.logs.page(self._who, *self._place, order, cursor, size)

    async def everything(self, order: SortOrder, size: int) -> list[LogLine]:
        found: list[LogLine] = []
        cursor: str | None = None
        while True:
            page = await self.page(order, cursor, size)
            assert 0 < len(page.items) <= size
            found += page.items
            cursor = page.cursor
            if cursor is None:
                return found


async def job_with_log(core: Core) -> tuple[Writer, Reader, Granted, int]:
    user = await core.world.user()
    task = await core.world.task(user)
    batch = await core.world.batch(task)
    agent = await core.world.agent()
    (grant,) = await core.world.grant(agent, (batch, 1))
    return Writer(core, agent, grant), Reader(core, user, task, batch), grant, agent


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
async def test_pages_in_both_orders_hold_every_line_once(core: Core, size: int) -> None:
    writer, reader, _, _ = await job_with_log(core)
    for texts in (["a"], ["b", "c", "d"], ["", "é\t☃", "f"]):
        await writer.write(*texts)
    assert await reader.everything(ASC, size) == writer.lines
    assert await reader.everything(DESC, size) == writer.lines[::-1]


async def test_a_page_that_just_fills_is_the_last(core: Core) -> None:
    writer, reader, _, _ = await job_with_log(core)
    await writer.write("a", "b")
    for order in (ASC, DESC):
        page = await reader.page(order, size=2)
        assert (len(page.items), page.cursor) == (2, None)


@given(data=st.data())
def test_lines_that_arrive_between_pages_are_neither_lost_nor_doubled(data: st.DataObject) -> None:
    """Which lines a page holds is a pure choice over position, size and what there is so far."""
    order = data.draw(st.sampled_from([ASC, DESC]))
    total = data.draw(st.integers(1, 20))
    size = data.draw(st.integers(1, 8))
    seen: list[int] = []
    position = -1
    at_start = total
    while True:
        window = logs._window(order, position, size, total)
        numbers = list(range(window.first, window.last))
        seen += numbers if order is ASC else numbers[::-1]
        cursor = logs._next(order, window, len(numbers))
        if cursor is None:
            break
        position = decode_cursor(cursor, int, -1)
        total += data.draw(st.integers(0, 3)) if total < 60 else 0
    expected = list(range(total)) if order is ASC else list(range(at_start))[::-1]
    assert seen == expected


async def test_reading_goes_on_while_lines_arrive(core: Core) -> None:
    writer, reader, _, _ = await job_with_log(core)
    await writer.write("a", "b", "c")
    forward, backward = await reader.page(ASC, size=2), await reader.page(DESC, size=2)
    await writer.write("d", "e")
    rest = await reader.page(ASC, forward.cursor, 10)
    assert [text for _, text in forward.items + rest.items] == ["a", "b", "c", "d", "e"]
    rest = await reader.page(DESC, backward.cursor, 10)
    assert [text for _, text in backward.items + rest.items] == ["c", "b", "a"]


async def test_reports_that_are_repeated_double_no_line(core: Core) -> None:
    writer, reader, _, agent = await job_with_log(core)
    first = await writer.write("a", "b")
    second = await writer.write("c")
    await core.world.report(agent, second, first)
    await core.world.report(agent, first)
    assert await reader.everything(ASC, 2) == writer.lines


async def test_a_page_of_very_long_lines_is_cut_and_the_next_goes_on(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "MAX_PAGE_BYTES", 250)
    writer, reader, _, _ = await job_with_log(core)
    await writer.write(*(letter * 100 for letter in "abcde"))
    await writer.write("x" * 1000)
    for order, expected in ((ASC, writer.lines), (DESC, writer.lines[::-1])):
        assert len((await reader.page(order)).items) <= 2
        assert await reader.everything(order, 100) == expected


async def test_an_unfinished_job_without_lines_is_answered_late_and_with_what_came_meanwhile(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "EMPTY_WAIT_SECONDS", 0.2)
    _, reader, _, _ = await job_with_log(core)
    began = asyncio.get_running_loop().time()
    page = await reader.page(ASC)
    assert asyncio.get_running_loop().time() - began >= 0.19
    assert (page.items, page.cursor) == ([], None)


async def test_a_finished_job_without_lines_is_answered_at_once(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "EMPTY_WAIT_SECONDS", 3600.0)
    _, reader, grant, agent = await job_with_log(core)
    await core.world.report(agent, core.world.end(grant))
    page = await asyncio.wait_for(reader.page(DESC), 20)
    assert (page.items, page.cursor) == ([], None)


async def test_the_log_of_a_retried_job_is_one(core: Core) -> None:
    writer, reader, grant, agent = await job_with_log(core)
    await writer.write("first try")
    await core.world.report(agent, core.world.end(grant, Outcome.HANDED_BACK))
    (again,) = await core.world.database.run(
        lambda connection: lease_jobs(connection, [(grant.batch_no, 1)], agent, core.world.clock.now)
    )
    second = Writer(core, agent, again)
    second.lines = list(writer.lines)
    await second.write("second try")
    assert [text for _, text in await reader.everything(ASC, 1)] == ["first try", "second try"]


@pytest.mark.parametrize("size", [0, -1])
async def test_a_page_has_a_size(core: Core, size: int) -> None:
    _, reader, _, _ = await job_with_log(core)
    with pytest.raises(InvalidRequest, match="pageSize"):
        await reader.page(ASC, size=size)
