"""Removes what is old: jobs with all that belongs to them, log objects, agents."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from openhtc.storage.database import Connection
from openhtc.storage.queries import load

_SQL = load("purge")


@dataclass(frozen=True, slots=True)
class LogObject:
    object_no: int
    key: str


async def lock_due_batches(connection: Connection, now: datetime, jobs: int) -> list[int]:
    """Batches that may have jobs to remove, about so many in all; locked until the transaction ends."""
    return [row["batch_no"] for row in await connection.fetch(_SQL["lock_due_batches"], now, jobs)]


async def drop_chunks(
    connection: Connection, batch_nos: Sequence[int], ended_by: datetime, now: datetime, limit: int
) -> int:
    """How many log slices of old jobs went; as many as ``limit`` when there may be more."""
    rows = await connection.fetch(_SQL["drop_chunks"], list(batch_nos), ended_by, limit)
    if rows:
        objects, slices = [row["object_no"] for row in rows], [row["slices"] for row in rows]
        await connection.execute(_SQL["release_slices"], objects, slices, now)
    return sum(row["slices"] for row in rows)


async def drop_jobs(connection: Connection, batch_nos: Sequence[int], ended_by: datetime) -> int:
    """How many jobs went, with their former attempts. Their log slices must have gone before."""
    await connection.execute(_SQL["drop_attempts"], list(batch_nos), ended_by)
    done = await connection.execute(_SQL["drop_jobs"], list(batch_nos), ended_by)
    return int(done.rpartition(" ")[2])


async def schedule_purge(
    connection: Connection, batch_nos: Sequence[int], now: datetime, kept: timedelta
) -> None:
    """Say when to look at the batches again; those without any job are marked as emptied."""
    await connection.execute(_SQL["schedule_purge"], list(batch_nos), now, kept.total_seconds())


async def emptied_task(connection: Connection) -> UUID | None:
    """A task with emptied batches."""
    task_id: UUID | None = await connection.fetchval(_SQL["emptied_task"])
    return task_id


async def drop_emptied(connection: Connection, task_id: UUID, limit: int) -> int:
    """Remove emptied batches and the counters of groups that have no job left; the caller holds the task's lock."""
    labels = [row["group_label"] for row in await connection.fetch(_SQL["drop_emptied"], task_id, limit)]
    await connection.execute(_SQL["drop_counts"], task_id, sorted(set(labels)))
    return len(labels)


async def unused_objects(connection: Connection, limit: int) -> list[LogObject]:
    """Log objects that nobody reads any more, nor will."""
    return [LogObject(**row) for row in await connection.fetch(_SQL["unused_objects"], limit)]


async def drop_objects(connection: Connection, object_nos: Sequence[int]) -> None:
    await connection.execute(_SQL["drop_objects"], list(object_nos))


async def forgotten_agents(
    connection: Connection, ended_by: datetime, now: datetime, limit: int
) -> list[int]:
    """Agents whose life ended by then and that nothing in the database names any more."""
    rows = await connection.fetch(_SQL["forgotten_agents"], ended_by, now, limit)
    return [row["agent_no"] for row in rows]


async def drop_agents(connection: Connection, agent_nos: Sequence[int]) -> None:
    await connection.execute(_SQL["drop_agents"], list(agent_nos))
