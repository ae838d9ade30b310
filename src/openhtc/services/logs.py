"""The log lines of a job, page by page, while it runs and afterwards."""

import asyncio
from dataclasses import dataclass

from openhtc.domain.enums import SortOrder
from openhtc.domain.identity import Caller
from openhtc.domain.logs import LogLine, unpack_lines
from openhtc.domain.permissions import Operation, permit
from openhtc.lifecycle.turns import outside
from openhtc.objects.store import ObjectStore
from openhtc.services.jobs import job_for
from openhtc.services.pages import Offset, Page, clamp, decode_cursor, encode_cursor
from openhtc.storage import log_chunks
from openhtc.storage.database import Database
from openhtc.storage.jobs import Job
from openhtc.storage.log_chunks import Chunk

MAX_PAGE = 10_000
MAX_PAGE_BYTES = 16 * 1024 * 1024
"""A page of very long lines is cut short; the next one goes on."""
EMPTY_WAIT_SECONDS = 1.0
"""An empty page of an unfinished job is answered late: a client in follow mode asks again without a pause."""
MAX_PAGE_CHUNKS = 400
"""A page of lines that came one by one is cut short as well."""
_FETCHES = 8
"""Slices that are in memory at once for a page."""


@dataclass(frozen=True, slots=True)
class _Window:
    """Lines [first, last) of a job, out of ``total``."""

    first: int
    last: int
    total: int


class Logs:
    def __init__(self, database: Database, objects: ObjectStore) -> None:
        self._database = database
        self._objects = objects

    async def page(
        self,
        caller: Caller,
        project_id: str,
        task_id: str,
        job_id: str,
        order: SortOrder,
        cursor: str | None,
        page_size: int,
    ) -> Page[LogLine]:
        """Lines in the asked order. A cursor is a line number, so lines that arrive meanwhile shift nothing."""
        size = clamp(page_size, MAX_PAGE)
        position = decode_cursor(cursor, Offset, -1)
        async with self._database.connection() as connection:
            job = await job_for(connection, caller, project_id, task_id, job_id)
            permit(caller, Operation.READ_HISTORY, job.batch.created_by)
        page = await self._read(job, order, position, size)
        if not page.items and not job.job_status.is_terminal:
            async with outside():
                await asyncio.sleep(EMPTY_WAIT_SECONDS)
            page = await self._read(job, order, position, size)
        return page

    async def _read(self, job: Job, order: SortOrder, position: int, size: int) -> Page[LogLine]:
        async with self._database.connection() as connection:
            total = await log_chunks.count_lines(connection, job.batch_no, job.idx)
            window = _window(order, position, size, total)
            chunks = await log_chunks.page_chunks(
                connection,
                job.batch_no,
                job.idx,
                window.first,
                window.last,
                backwards=order is SortOrder.DESC,
                limit=MAX_PAGE_CHUNKS,
            )
        lines = await self._lines(chunks, window, order)
        return Page(lines, _next(order, window, len(lines)))

    async def _lines(self, chunks: list[Chunk], window: _Window, order: SortOrder) -> list[LogLine]:
        """The window's lines in the asked order, as many as a page holds."""
        found: list[LogLine] = []
        size = 0
        for at in range(0, len(chunks), _FETCHES):
            some = chunks[at : at + _FETCHES]
            for lines in await asyncio.gather(*(self._slice(chunk, window) for chunk in some)):
                for line in lines if order is SortOrder.ASC else reversed(lines):
                    size += len(line[1])
                    if size > MAX_PAGE_BYTES and found:
                        return found
                    found.append(line)
        return found

    async def _slice(self, chunk: Chunk, window: _Window) -> list[LogLine]:
        data = await self._objects.get_range(chunk.object_key, chunk.object_offset, chunk.length)
        return unpack_lines(data, max(window.first - chunk.first_line, 0), window.last - chunk.first_line)


def _window(order: SortOrder, position: int, size: int, total: int) -> _Window:
    if order is SortOrder.ASC:
        first = max(position, 0)
        return _Window(first, min(first + size, total), total)
    last = total if position < 0 else min(position, total)
    return _Window(max(last - size, 0), last, total)


def _next(order: SortOrder, window: _Window, given: int) -> str | None:
    if order is SortOrder.ASC:
        reached = window.first + given
        return encode_cursor(reached) if given and reached < window.total else None
    reached = window.last - given
    return encode_cursor(reached) if given and reached > 0 else None
