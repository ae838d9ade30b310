"""What the keeper takes away when its time has come. Each duty is safe to run twice and by two servers at once.

The work goes in small pages, each a transaction of its own, and a run ends after about a second, so that cleaning takes
no more than a share of the database's time: what is left waits for the next run. Files go before the rows that name
them, so that a crash between the two leaves a row whose file is deleted again, never a file that nobody knows of.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from openhtc.domain.errors import Unavailable
from openhtc.domain.retention import JOBS_KEPT, LATE_WRITES
from openhtc.objects.store import ObjectStore
from openhtc.services.access import task_folder
from openhtc.services.clock import Clock
from openhtc.storage import audit, projects, purge, retention
from openhtc.storage.database import Connection, Database
from openhtc.storage.retention import DeletedTask

Stores = Callable[[], Sequence[ObjectStore]]
"""Every store in which tasks have folders."""

ACTOR = "service:retention"
"""Who deletes tasks because of a policy, in the audit trail."""
AGENTS_KEPT = JOBS_KEPT + timedelta(days=1)
"""Longer than any job that an agent ended: the agent's row knows the name of that job's node."""
RUN_SECONDS = 1.0

_TASKS = 100
_BATCHES = 200
_JOBS = 2_000
_CHUNKS = 10_000
_OBJECTS = 1_000
_AGENTS = 20
_TRY_AGAIN = timedelta(minutes=1)


async def _repeat(page: Callable[[], Awaitable[int | None]]) -> int:
    """Page after page until one says None, for nothing to do, or the run has lasted long enough; the sum of all."""
    loop, done = asyncio.get_running_loop(), 0
    deadline = loop.time() + RUN_SECONDS
    while (found := await page()) is not None:
        done += found
        if loop.time() >= deadline:
            break
    return done


class TaskArchival:
    """Archives tasks that were idle for as long as their policy says."""

    name = "task_archival"
    every_seconds = 60.0

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def run_once(self) -> int:
        return await _repeat(self._page)

    async def _page(self) -> int | None:
        async def work(connection: Connection) -> int:
            return len(await retention.archive_idle(connection, self._clock(), _TASKS))

        return await self._database.run(work) or None


class TaskDeletion:
    """Deletes tasks that were archived for as long as their policy says."""

    name = "task_deletion"
    every_seconds = 60.0

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def run_once(self) -> int:
        return await _repeat(self._page)

    async def _page(self) -> int | None:
        async def work(connection: Connection) -> int:
            now = self._clock()
            deleted = await retention.delete_archived(connection, now, _TASKS)
            for task_id, hours in deleted:
                details = {"deleteAfter": hours}
                await audit.record(connection, now, ACTOR, "task.delete", f"task:{task_id}", details)
            return len(deleted)

        return await self._database.run(work) or None


class StorageRelease:
    """Removes the files of deleted tasks: soon, and once more when nobody can have keys to them any more."""

    name = "storage_release"
    every_seconds = 5.0

    def __init__(self, database: Database, stores: Stores, clock: Clock) -> None:
        self._database = database
        self._stores = stores
        self._clock = clock

    async def run_once(self) -> int:
        """Returns how many files were removed."""
        return await _repeat(self._page)

    async def _page(self) -> int | None:
        now = self._clock()
        async with self._database.connection() as connection:
            task = await retention.due_storage(connection, now)
            if task is None:
                return None
            unfinished = await retention.count_unfinished(connection, task.id)
        if unfinished:  # cancelled jobs that agents are still stopping
            await self._postpone(task.id, now + _TRY_AGAIN)
            return 0
        try:
            removed = await self._remove(f"{task_folder(task.project_id, task.id)}/")
        except Unavailable:
            await self._postpone(task.id, now + _TRY_AGAIN)
            raise
        if removed:
            await self._postpone(task.id, now)  # behind others that are due
        else:
            await self._conclude(task, now)
        return removed

    async def _remove(self, folder: str) -> int:
        """A page of every store."""
        return sum([await store.removal.remove_below(folder) for store in self._stores()])

    async def _postpone(self, task_id: UUID, due_at: datetime) -> None:
        async with self._database.transaction() as connection:
            await retention.postpone_storage(connection, task_id, due_at)

    async def _conclude(self, task: DeletedTask, now: datetime) -> None:
        keys_end = task.deleted_at + LATE_WRITES
        async with self._database.transaction() as connection:
            again = keys_end if now < keys_end else None
            await retention.note_storage_freed(connection, task.id, now, again)


class JobRemoval:
    """Removes jobs that ended long ago, with their former attempts and their log slices; then batches without jobs."""

    name = "job_removal"
    every_seconds = 5.0

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def run_once(self) -> int:
        """Returns how many jobs were removed."""
        return await _repeat(self._page)

    async def _page(self) -> int | None:
        removed = await self._database.run(self._drop_jobs)
        emptied = await self._database.run(self._drop_emptied)
        return None if removed is None and not emptied else removed or 0

    async def _drop_jobs(self, connection: Connection) -> int | None:
        now = self._clock()
        due = await purge.lock_due_batches(connection, now, _JOBS)
        if not due:
            return None
        if await purge.drop_chunks(connection, due, now - JOBS_KEPT, now, _CHUNKS) == _CHUNKS:
            return 0
        removed = await purge.drop_jobs(connection, due, now - JOBS_KEPT)
        await purge.schedule_purge(connection, due, now, JOBS_KEPT)
        return removed

    async def _drop_emptied(self, connection: Connection) -> int:
        """Apart from the jobs: submissions hold the task first and then the counters, so must we."""
        task_id = await purge.emptied_task(connection)
        if task_id is None:
            return 0
        await projects.lock_task(connection, task_id)
        return await purge.drop_emptied(connection, task_id, _BATCHES)


class LogRemoval:
    """Removes log objects in which no line is left that somebody could read."""

    name = "log_removal"
    every_seconds = 60.0

    def __init__(self, database: Database, objects: ObjectStore) -> None:
        self._database = database
        self._objects = objects

    async def run_once(self) -> int:
        return await _repeat(self._page)

    async def _page(self) -> int | None:
        async with self._database.connection() as connection:
            unused = await purge.unused_objects(connection, _OBJECTS)
        if not unused:
            return None
        await self._objects.removal.remove([each.key for each in unused])
        async with self._database.transaction() as connection:
            await purge.drop_objects(connection, [each.object_no for each in unused])
        return len(unused)


class AgentRemoval:
    """Forgets agents of long ago, and the log objects that they wrote and told nobody of."""

    name = "agent_removal"
    every_seconds = 600.0

    def __init__(self, database: Database, objects: ObjectStore, clock: Clock) -> None:
        self._database = database
        self._objects = objects
        self._clock = clock

    async def run_once(self) -> int:
        """Returns how many agents were removed."""
        return await _repeat(self._page)

    async def _page(self) -> int | None:
        now = self._clock()
        async with self._database.connection() as connection:
            agents = await purge.forgotten_agents(connection, now - AGENTS_KEPT, now, _AGENTS)
        if not agents:
            return None
        for agent_no in agents:
            if await self._objects.removal.remove_below(f"logs/{agent_no}/"):
                return 0
        async with self._database.transaction() as connection:
            await purge.drop_agents(connection, agents)
        return len(agents)
