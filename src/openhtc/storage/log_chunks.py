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


@dataclass(frozen=True, slots=True)
class LogEnd:
    """What is known of a job's log: how many lines, and the time of the last of them."""

    lines: int = 0
    last_ns: int = -1


async def add_chunks(connection: Connection, chunks: Sequence[LogChunk]) -> None:
    """Append chunks to their jobs in the given order; those that are known already change nothing.

    Lines of a job have increasing times and arrive in order: what is not later than the last known line is known.
    The caller holds the jobs' row locks, so that line numbers are given by one transaction at a time.
    """
    fresh, numbers = _number(chunks, await _log_ends(connection, chunks))
    if not fresh:
        return
    objects = await _count_slices(connection, fresh)
    await connection.execute(
        _SQL["insert_chunks"],
        [chunk.batch for chunk in fresh],
        [chunk.index for chunk in fresh],
        numbers,
        [chunk.lines for chunk in fresh],
        [objects[chunk.key] for chunk in fresh],
        [chunk.offset for chunk in fresh],
        [chunk.length for chunk in fresh],
        [chunk.last_ns for chunk in fresh],
    )


def _number(chunks: Sequence[LogChunk], ends: dict[JobKey, LogEnd]) -> tuple[list[LogChunk], list[int]]:
    """The chunks that are new, and the number of the first line of each."""
    fresh, numbers = [], []
    for chunk in chunks:
        job = (chunk.batch, chunk.index)
        end = ends.get(job, LogEnd())
        if chunk.first_ns > end.last_ns:
            fresh.append(chunk)
            numbers.append(end.lines)
            ends[job] = LogEnd(end.lines + chunk.lines, chunk.last_ns)
    return fresh, numbers


async def _count_slices(connection: Connection, chunks: Sequence[LogChunk]) -> dict[str, int]:
    """The numbers of the chunks' objects, by key."""
    slices = Counter(chunk.key for chunk in chunks)
    rows = await connection.fetch(_SQL["add_slices"], list(slices), list(slices.values()))
    return {row["key"]: row["object_no"] for row in rows}


async def _log_ends(connection: Connection, chunks: Sequence[LogChunk]) -> dict[JobKey, LogEnd]:
    jobs = sorted({(chunk.batch, chunk.index) for chunk in chunks})
    rows = await connection.fetch(
        _SQL["log_ends"], [batch for batch, _ in jobs], [index for _, index in jobs]
    )
    return {(row["batch_no"], row["idx"]): LogEnd(row["lines"], row["last_ns"]) for row in rows}


async def count_lines(connection: Connection, batch_no: int, index: int) -> int:
    return int(await connection.fetchval(_SQL["count_lines"], batch_no, index) or 0)


async def page_chunks(
    connection: Connection,
    batch_no: int,
    index: int,
    first: int,
    last: int,
    *,
    backwards: bool = False,
    limit: int,
) -> list[Chunk]:
    """The chunks that hold any line of [first, last), at most ``limit``; with ``backwards`` from the last one on."""
    statement = _SQL["chunks_backwards" if backwards else "chunks_forwards"]
    rows = await connection.fetch(statement, batch_no, index, first, last, limit)
    return [Chunk(**row) for row in rows]
