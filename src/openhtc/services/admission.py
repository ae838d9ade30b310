"""Releases held jobs as far as limits leave room. Nothing else makes a held job runnable."""

import structlog

from openhtc.domain.admission import Room, release
from openhtc.domain.errors import Unavailable
from openhtc.services.clock import Clock
from openhtc.storage import admission
from openhtc.storage.database import Connection, Database

_JOBS_AT_ONCE = 10_000
_BATCHES_OF_A_PROJECT = 100

log = structlog.get_logger(__name__)


class Admission:
    """Also a duty of the keeper: at every signal, and now and then in case one got lost."""

    every_seconds = 1.0
    name = "admission"

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def admit(self, workspace_id: str) -> int:
        """Release what may go; returns how many jobs went.

        One transaction at a time does this in a workspace. Everything that happens meanwhile only lowers the vCPUs of
        released jobs, or keeps them, so no limit is exceeded.
        """

        total = 0
        while released := await self._page(workspace_id):
            total += released
        return total

    async def begin(self, workspace_id: str) -> None:
        """The first page at once, for whoever has just made room or held jobs; the keeper goes on.

        What was stored before stays stored whatever happens here, so nothing is raised.
        """
        try:
            await self._page(workspace_id)
        except Unavailable as error:
            log.warning("admission_postponed", workspace=workspace_id, error=error.message)

    async def _page(self, workspace_id: str) -> int:
        async def work(connection: Connection) -> int:
            await admission.lock(connection, workspace_id)
            return await self._release(connection, workspace_id)

        return await self._database.run(work)

    async def run_once(self) -> int:
        """Every workspace with held jobs."""
        async with self._database.connection() as connection:
            workspaces = await admission.workspaces_with_held(connection)
        return sum([await self.admit(workspace_id) for workspace_id in workspaces])

    async def _release(self, connection: Connection, workspace_id: str) -> int:
        held = await admission.held_batches(connection, workspace_id, _BATCHES_OF_A_PROJECT)
        if not held:
            return 0
        active = await admission.released_vcpus(connection, workspace_id)
        limits = await admission.smallest_limits(connection, workspace_id)
        rooms = {item.project: Room(active.get(item.project, 0), limits.get(item.project)) for item in held}
        workspace = Room(sum(active.values()), limits.get(None))
        shares = release(held, rooms, workspace, _JOBS_AT_ONCE)
        return await admission.release_jobs(connection, shares, self._clock()) if shares else 0
