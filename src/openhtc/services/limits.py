"""vCPU limits of projects and workspaces: who may set them, and what follows from a change."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from openhtc.domain.enums import ModifierRole
from openhtc.domain.errors import InvalidRequest, NotFound
from openhtc.domain.identity import Caller
from openhtc.domain.permissions import Operation, permit
from openhtc.services.access import project_for, workspace_for
from openhtc.services.admission import Admission
from openhtc.services.clock import Clock
from openhtc.storage import admission, audit, limits
from openhtc.storage.database import Connection, Database
from openhtc.storage.limits import Limit

MAX_VCPUS = 999_999
_LARGEST_ID = 2**31 - 1
T = TypeVar("T")

_SETTING = {
    ModifierRole.PROJECT_ADMIN: Operation.SET_PROJECT_LIMIT,
    ModifierRole.WORKSPACE_ADMIN: Operation.SET_WORKSPACE_LIMIT,
}


class Limits:
    def __init__(self, database: Database, admitting: Admission, clock: Clock) -> None:
        self._database = database
        self._admitting = admitting
        self._clock = clock

    async def list(self, caller: Caller, project_id: str) -> list[Limit]:
        permit(caller, Operation.READ_LIMITS)
        async with self._database.connection() as connection:
            project = await project_for(connection, caller, project_id)
            return await limits.project_limits(connection, project.id)

    async def get(self, caller: Caller, project_id: str, limit_id: int) -> Limit:
        permit(caller, Operation.READ_LIMITS)
        async with self._database.connection() as connection:
            return await _limit_for(connection, caller, project_id, limit_id)

    async def of_workspace(self, caller: Caller, workspace_id: str) -> Limit:
        permit(caller, Operation.READ_LIMITS)
        async with self._database.connection() as connection:
            await workspace_for(connection, caller, workspace_id)
            found = await limits.workspace_limit(connection, workspace_id)
        if found is None:
            raise NotFound(f"workspace {workspace_id} has no limit")
        return found

    async def put(self, caller: Caller, project_id: str, role: ModifierRole, vcpus: int) -> Limit:
        """The project's limit of a role; it replaces the one that there was."""
        permit(caller, _SETTING[role])

        async def work(connection: Connection) -> Limit:
            project = await project_for(connection, caller, project_id)
            await self._lock(connection, project.workspace_id)
            limit = await limits.put_limit(
                connection, project.workspace_id, project.id, role, vcpus, caller.user.id, self._clock()
            )
            await self._note(connection, caller.user.id, "limit.set", limit)
            return limit

        return await self._change(caller.user.workspace_id, work)

    async def change(self, caller: Caller, project_id: str, limit_id: int, vcpus: int) -> Limit:
        async def work(connection: Connection) -> Limit:
            await _limit_to_change(connection, caller, project_id, limit_id, self._lock)
            limit = await limits.change_limit(connection, limit_id, vcpus, caller.user.id, self._clock())
            await self._note(connection, caller.user.id, "limit.set", limit)
            return limit

        return await self._change(caller.user.workspace_id, work)

    async def remove(self, caller: Caller, project_id: str, limit_id: int) -> None:
        async def work(connection: Connection) -> None:
            limit = await _limit_to_change(connection, caller, project_id, limit_id, self._lock)
            await limits.remove_limits(connection, [limit_id])
            await self._note(connection, caller.user.id, "limit.removed", limit)

        await self._change(caller.user.workspace_id, work)

    async def remove_all(self, caller: Caller, project_id: str) -> None:
        """All of the project's limits or, where one of them is not the caller's to remove, none."""
        permit(caller, Operation.SET_PROJECT_LIMIT)

        async def work(connection: Connection) -> None:
            project = await project_for(connection, caller, project_id)
            await self._lock(connection, project.workspace_id)
            found = await limits.project_limits(connection, project.id)
            for limit in found:
                permit(caller, _setting(limit))
            await limits.remove_limits(connection, [limit.id for limit in found])
            for limit in found:
                await self._note(connection, caller.user.id, "limit.removed", limit)

        await self._change(caller.user.workspace_id, work)

    async def set_workspace(self, actor: str, workspace_id: str, vcpus: int | None) -> Limit | None:
        """What an operator sets for a whole workspace; None removes it."""
        if vcpus is not None and not 0 <= vcpus <= MAX_VCPUS:
            raise InvalidRequest(f"vcpus: {vcpus} is not within 0 and {MAX_VCPUS}")

        async def work(connection: Connection) -> Limit | None:
            await self._lock(connection, workspace_id)
            before = await limits.workspace_limit(connection, workspace_id)
            if vcpus is not None:
                now = self._clock()
                after = await limits.put_limit(connection, workspace_id, None, None, vcpus, actor, now)
                await self._note(connection, actor, "limit.set", after)
                return after
            if before is not None:
                await limits.remove_limits(connection, [before.id])
                await self._note(connection, actor, "limit.removed", before)
            return None

        return await self._change(workspace_id, work)

    async def _change(self, workspace_id: str, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Change limits, then release what may go now."""
        changed = await self._database.run(work)
        await self._admitting.begin(workspace_id)
        return changed

    async def _lock(self, connection: Connection, workspace_id: str) -> None:
        """Keeps submissions and admission of the workspace out until the change is made."""
        if not await limits.lock_limits(connection, workspace_id):
            raise NotFound(f"there is no workspace {workspace_id!r}")
        await admission.lock(connection, workspace_id)

    async def _note(self, connection: Connection, actor: str, action: str, limit: Limit) -> None:
        subject = (
            f"workspace:{limit.workspace_id}" if limit.project_id is None else f"project:{limit.project_id}"
        )
        details = {"vcpus": limit.vcpus, "modifierRole": limit.modifier_role}
        await audit.record(connection, self._clock(), actor, action, subject, details)


def _setting(limit: Limit) -> Operation:
    assert limit.modifier_role is not None, "a project's limit has a role"
    return _SETTING[ModifierRole(limit.modifier_role)]


async def _limit_for(connection: Connection, caller: Caller, project_id: str, limit_id: int) -> Limit:
    project = await project_for(connection, caller, project_id)
    possible = 0 < limit_id <= _LARGEST_ID
    found = await limits.project_limit(connection, project.id, limit_id) if possible else None
    if found is None:
        raise NotFound(f"there is no limit {limit_id} in project {project_id}")
    return found


async def _limit_to_change(
    connection: Connection,
    caller: Caller,
    project_id: str,
    limit_id: int,
    lock: Callable[[Connection, str], Awaitable[None]],
) -> Limit:
    """The limit under the lock; refused to those who may not change it."""
    permit(caller, Operation.SET_PROJECT_LIMIT)
    project = await project_for(connection, caller, project_id)
    await lock(connection, project.workspace_id)
    limit = await _limit_for(connection, caller, project_id, limit_id)
    permit(caller, _setting(limit))
    return limit
