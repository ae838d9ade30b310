"""Reading and replacing the lists of environments that jobs are held to."""

from collections.abc import Sequence
from dataclasses import asdict
from uuid import UUID

from openhtc.domain.dimensions import Environment, check_entries
from openhtc.domain.errors import NotFound
from openhtc.domain.identity import Caller
from openhtc.domain.permissions import Operation, permit
from openhtc.services.access import project_for, workspace_for
from openhtc.services.clock import Clock
from openhtc.storage import audit, dimensions
from openhtc.storage.database import Connection, Database
from openhtc.storage.dimensions import Entry


class Dimensions:
    """A change decides from the next lease on; agents that wait for work look again at once."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def of_project(self, caller: Caller, project_id: str) -> list[Entry]:
        """Empty when the project itself is not restricted."""
        permit(caller, Operation.READ_DIMENSIONS)
        async with self._database.connection() as connection:
            project = await project_for(connection, caller, project_id)
            return await dimensions.list_entries(connection, project.workspace_id, project.id)

    async def of_workspace(self, caller: Caller, workspace_id: str) -> list[Entry]:
        permit(caller, Operation.READ_DIMENSIONS)
        async with self._database.connection() as connection:
            await workspace_for(connection, caller, workspace_id)
            return await dimensions.list_entries(connection, workspace_id, None)

    async def set_project(
        self, caller: Caller, project_id: str, entries: Sequence[Environment]
    ) -> list[Entry]:
        """Replaces the whole list; every entry must be compatible with one of the workspace's, if it has any."""
        permit(caller, Operation.SET_DIMENSIONS)

        async def work(connection: Connection) -> list[Entry]:
            project = await project_for(connection, caller, project_id)
            available = await dimensions.list_entries(connection, project.workspace_id, None)
            check_entries(entries, [entry.environment for entry in available])
            await dimensions.lock_project(connection, project.id)
            return await self._replace(connection, caller.user.id, project.workspace_id, project.id, entries)

        return await self._database.run(work)

    async def set_workspace(
        self, actor: str, workspace_id: str, entries: Sequence[Environment]
    ) -> list[Entry]:
        """For operators. Lists of projects stay as they are: both are asked whenever a job is placed."""
        check_entries(entries, [])

        async def work(connection: Connection) -> list[Entry]:
            if not await dimensions.lock_workspace(connection, workspace_id):
                raise NotFound(f"there is no workspace {workspace_id!r}")
            return await self._replace(connection, actor, workspace_id, None, entries)

        return await self._database.run(work)

    async def _replace(
        self,
        connection: Connection,
        actor: str,
        workspace_id: str,
        project_id: UUID | None,
        entries: Sequence[Environment],
    ) -> list[Entry]:
        await dimensions.replace_entries(connection, workspace_id, project_id, entries)
        await dimensions.wake(connection, workspace_id, project_id)
        subject = f"workspace:{workspace_id}" if project_id is None else f"project:{project_id}"
        details = {"entries": [_named(entry) for entry in entries]}
        await audit.record(connection, self._clock(), actor, "dimensions.set", subject, details)
        return await dimensions.list_entries(connection, workspace_id, project_id)


def _named(entry: Environment) -> dict[str, object]:
    return {name: value for name, value in asdict(entry).items() if value is not None}
