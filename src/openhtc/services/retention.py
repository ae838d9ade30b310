"""How long the tasks of a project or a workspace are kept."""

from datetime import datetime

from openhtc.domain.errors import NotFound
from openhtc.domain.identity import Caller
from openhtc.domain.permissions import Operation, permit
from openhtc.services.access import project_for, workspace_for
from openhtc.services.clock import Clock
from openhtc.storage import audit, retention
from openhtc.storage.database import Connection, Database
from openhtc.storage.retention import Policy


class Retention:
    """Hours everywhere; 0 is never. A project's policy stands for the workspace's as a whole."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def of_project(self, caller: Caller, project_id: str) -> Policy:
        """Raises NotFound when the project has none of its own: the workspace's applies then."""
        async with self._database.connection() as connection:
            project = await project_for(connection, caller, project_id)
            permit(caller, Operation.READ_RETENTION)
            found = await retention.find_policy(connection, project.workspace_id, project.id)
        if found is None:
            raise NotFound(f"project {project_id} has no retention policy, the workspace's applies")
        return found

    async def set_for_project(
        self, caller: Caller, project_id: str, archive_after: int, delete_after: int
    ) -> Policy:
        async with self._database.transaction() as connection:
            project = await project_for(connection, caller, project_id)
            permit(caller, Operation.SET_PROJECT_RETENTION, project.created_by)
            policy = Policy(project.workspace_id, project.id, archive_after, delete_after, self._clock())
            await _put(connection, caller, policy)
        return policy

    async def clear_for_project(self, caller: Caller, project_id: str) -> None:
        """The workspace's policy applies from now on. Raises NotFound when the project has none of its own."""
        async with self._database.transaction() as connection:
            project = await project_for(connection, caller, project_id)
            permit(caller, Operation.SET_PROJECT_RETENTION, project.created_by)
            dropped = await retention.drop_policy(connection, project.workspace_id, project.id)
            if dropped is None:
                raise NotFound(f"project {project_id} has no retention policy")
            await _record(connection, self._clock(), caller, "retention.clear", dropped)

    async def of_workspace(self, caller: Caller, workspace_id: str) -> Policy:
        async with self._database.connection() as connection:
            await workspace_for(connection, caller, workspace_id)
            permit(caller, Operation.READ_RETENTION)
            found = await retention.find_policy(connection, workspace_id, None)
        if found is None:
            raise NotFound(f"workspace {workspace_id} has no retention policy")
        return found

    async def set_for_workspace(
        self, caller: Caller, workspace_id: str, archive_after: int, delete_after: int
    ) -> Policy:
        async with self._database.transaction() as connection:
            await workspace_for(connection, caller, workspace_id)
            permit(caller, Operation.SET_WORKSPACE_RETENTION)
            policy = Policy(workspace_id, None, archive_after, delete_after, self._clock())
            await _put(connection, caller, policy)
        return policy


async def _put(connection: Connection, caller: Caller, policy: Policy) -> None:
    await retention.put_policy(connection, policy)
    await _record(connection, policy.created_at, caller, "retention.set", policy)


async def _record(connection: Connection, now: datetime, caller: Caller, action: str, policy: Policy) -> None:
    whose = (
        f"workspace:{policy.workspace_id}" if policy.project_id is None else f"project:{policy.project_id}"
    )
    hours = {"archiveAfter": policy.archive_after, "deleteAfter": policy.delete_after}
    await audit.record(connection, now, caller.user.id, action, whose, hours)
