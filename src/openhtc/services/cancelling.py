"""Cancels jobs, however many: what a user asked for holds at once, and the jobs follow in pages."""

import asyncio
from uuid import UUID

import structlog

from openhtc.domain.errors import Unavailable
from openhtc.services.clock import Clock
from openhtc.storage import cancellation
from openhtc.storage.database import COLLISIONS, Connection, Database

_JOBS_AT_ONCE = 10_000
_BEGIN_SECONDS = 0.5
_RUN_SECONDS = 10.0
_LOOK_AGAIN_SECONDS = 0.02
"""Another page is under way: nobody waits for its end with a connection in hand."""

log = structlog.get_logger(__name__)


class Cancelling:
    """Also a duty of the keeper, which goes on where a request or a server ended."""

    every_seconds = 0.5
    name = "cancelling"

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def mark(
        self, connection: Connection, task_id: UUID, group: str | None = None, owner: str | None = None
    ) -> None:
        """Decide it, in the caller's transaction: from its commit on, no job of what is marked starts any more."""
        await cancellation.mark_batches(connection, task_id, group, owner, self._clock())

    async def begin(self, task_id: UUID) -> None:
        """Carry it out for half a second, for whoever has just marked: all of it unless there is very much.

        What was marked stays marked whatever happens here, so nothing is raised.
        """
        try:
            await self._repeat(task_id, _BEGIN_SECONDS)
        except (Unavailable, *COLLISIONS) as error:
            log.warning("cancelling_postponed", task=str(task_id), error=str(error))

    async def run_once(self) -> int:
        """Returns how many batches were carried through."""
        return await self._repeat(None, _RUN_SECONDS)

    async def _repeat(self, task_id: UUID | None, seconds: float) -> int:
        loop, done = asyncio.get_running_loop(), 0
        deadline = loop.time() + seconds

        async def page(connection: Connection) -> int | None:
            return await cancellation.cancel_page(connection, task_id, _JOBS_AT_ONCE)

        while (batches := await self._database.run(page)) != 0:
            done += batches or 0
            if loop.time() >= deadline:
                break
            if batches is None:
                await asyncio.sleep(_LOOK_AGAIN_SECONDS)
        return done
