"""Where the log lines of jobs lie in the object store."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from openhtc.domain.work import LogChunk
from openhtc.storage.database import Connection
from openhtc.storage.queries import load

_SQL = load("leasing")

JobKey = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Chunk:
    """``lines`` lines from number ``first_line`` on lie in a slice of an object."""

    first_line: int
    lines: int
    object_key: str
    object_offset: int
    length: int


async def add_chunks(connection: Connection, chunks: Sequence[LogChunk]) -> None:
    """Append chunks to their jobs in the given order; those that are known already change nothing.

    The caller holds the jobs' row locks, so that line numbers are given by one transaction at a time.
    """
    fresh = await _unknown(connection, chunks)
    if not fresh:
        return
    numbered = _number(fresh, await _line_counts(connection, fresh))
    objects = await _count_slices(connection, fresh)
    await connection.execute(
        _SQL["insert_chunks"],
        [chunk.batch for chunk in fresh],
        [chunk.index for chunk in fresh],
        numbered,
        [chunk.lines for chunk in fresh],
        [objects[chunk.key] for chunk in fresh],
        [chunk.offset for chunk in fresh],
        [chunk.length for chunk in fresh],
        [chunk.last_ns for chunk in fresh],
    )


async def _unknown(connection: Connection, chunks: Sequence[LogChunk]) -> list[LogChunk]:
    keys = sorted({chunk.key for chunk in chunks})
    objects = {row["object_no"]: row["key"] for row in await connection.fetch(_SQL["known_objects"], keys)}
    known: set[tuple[int, int, str, int]] = set()
    if objects:
        rows = await connection.fetch(
            _SQL["chunk_exists"],
            [chunk.batch for chunk in chunks],
            [chunk.index for chunk in chunks],
            list(objects),
        )
        known = {
            (row["batch_no"], row["idx"], objects[row["object_no"]], row["object_offset"]) for row in rows
        }
    fresh: dict[tuple[int, int, str, int], LogChunk] = {}
    for chunk in chunks:
        place = (chunk.batch, chunk.index, chunk.key, chunk.offset)
        if place not in known:
            fresh.setdefault(place, chunk)
    return list(fresh.values())


async def _count_slices(connection: Connection, chunks: Sequence[LogChunk]) -> dict[str, int]:
    """The numbers of the chunks' objects, by key."""
    slices = Counter(chunk.key for chunk in chunks)
    rows = await connection.fetch(_SQL["add_slices"], list(slices), list(slices.values()))
    return {row["key"]: row["object_no"] for row in rows}


async def _line_counts(connection: Connection, chunks: Sequence[LogChunk]) -> dict[JobKey, int]:
    jobs = sorted({(chunk.batch, chunk.index) for chunk in chunks})
    rows = await connection.fetch(
        _SQL["chunk_ends"], [batch for batch, _ in jobs], [index for _, index in jobs]
    )
    return {(row["batch_no"], row["idx"]): row["lines"] for row in rows}


def _number(chunks: Sequence[LogChunk], lines: dict[JobKey, int]) -> list[int]:
    """The number of the first line of each chunk."""
    numbers = []
    for chunk in chunks:
        job = (chunk.batch, chunk.index)
        first = lines.get(job, 0)
        numbers.append(first)
        lines[job] = first + chunk.lines
    return numbers


async def count_lines(connection: Connection, batch_no: int, index: int) -> int:
    return int(await connection.fetchval(_SQL["count_lines"], batch_no, index))


async def page_chunks(
    connection: Connection, batch_no: int, index: int, first: int, last: int
) -> list[Chunk]:
    """The chunks that hold any line of [first, last)."""
    rows = await connection.fetch(_SQL["page_chunks"], batch_no, index, first, last)
    return [Chunk(**row) for row in rows]
