"""Tasks archived, restored and deleted by people."""

from openhtc.domain.enums import LifecycleStatus
from openhtc.domain.identity import Caller
from openhtc.domain.permissions import Operation, permit
from openhtc.domain.retention import check_change
from openhtc.services.access import own_task
from openhtc.services.cancelling import Cancelling
from openhtc.services.clock import Clock
from openhtc.storage import audit, projects, retention
from openhtc.storage.database import Connection, Database
from openhtc.storage.projects import Task


class TaskLife:
    """Every change is decided under the lock on the task's row that submissions take too."""

    def __init__(self, database: Database, cancelling: Cancelling, clock: Clock) -> None:
        self._database = database
        self._cancelling = cancelling
        self._clock = clock

    async def change(self, caller: Caller, project_id: str, task_id: str, wanted: LifecycleStatus) -> Task:
        """Archive an idle task or make an archived one active again. Raises InvalidRequest for any other change."""

        async def work(connection: Connection) -> Task:
            task = await own_task(connection, caller, project_id, task_id)
            permit(caller, Operation.CHANGE_TASK, task.created_by)
            # Asked once before the lock: while it is held, ends of jobs do not move the task's last activity.
            check_change(task.lifecycle, wanted, await retention.count_unfinished(connection, task.id))
            state = await projects.lock_task(connection, task.id)
            check_change(state, wanted, await retention.count_unfinished(connection, task.id))
            now = self._clock()
            if wanted is LifecycleStatus.ARCHIVED:
                await retention.archive_task(connection, task.id, now)
            else:
                await retention.restore_task(connection, task.id, now)
            action = "task.archive" if wanted is LifecycleStatus.ARCHIVED else "task.restore"
            await audit.record(connection, now, caller.user.id, action, f"task:{task.id}", {})
            return await _read(connection, task)

        return await self._database.run(work)

    async def delete(self, caller: Caller, project_id: str, task_id: str) -> Task:
        """Cancel what is unfinished and delete the task; a deleted one stays as it is. Its files go later."""

        async def work(connection: Connection) -> Task:
            task = await own_task(connection, caller, project_id, task_id)
            permit(caller, Operation.CHANGE_TASK, task.created_by)
            if await projects.lock_task(connection, task.id) is not LifecycleStatus.DELETED:
                now = self._clock()
                await self._cancelling.mark(connection, task.id)
                await retention.delete_task(connection, task.id, now)
                await audit.record(connection, now, caller.user.id, "task.delete", f"task:{task.id}", {})
            return await _read(connection, task)

        deleted = await self._database.run(work)
        await self._cancelling.begin(deleted.id)
        return deleted


async def _read(connection: Connection, task: Task) -> Task:
    found = await projects.find_task(connection, task.project_id, task.id)
    assert found is not None, "tasks are marked as deleted, never removed"
    return found
