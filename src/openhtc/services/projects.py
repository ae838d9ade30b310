"""Projects and tasks."""

from dataclasses import replace
from uuid import uuid4

from openhtc.domain.errors import InvalidRequest
from openhtc.domain.identity import Caller, User
from openhtc.domain.permissions import Operation, permit
from openhtc.domain.regions import Region
from openhtc.domain.validation import check_text
from openhtc.services.access import own_task, project_for
from openhtc.services.clock import Clock
from openhtc.services.pages import Offset, Page, clamp, cut, decode_cursor
from openhtc.storage import audit, projects, regions
from openhtc.storage.database import Database
from openhtc.storage.projects import Project, Task

MAX_PAGE = 1000
_MAX_NAME = 1024
_MAX_DESCRIPTION = 64 * 1024


def _check_name(field: str, text: str, longest: int) -> None:
    check_text(field, text)
    if len(text) > longest:
        raise InvalidRequest(f"{field}: {len(text)} characters, at most {longest} are allowed")


def _regions(user: User, wanted: list[Region]) -> list[str]:
    """What a new project gets: the regions it asks for, or the workspace's first."""
    if not user.regions:
        raise InvalidRequest("regions: no region is enabled in the workspace")
    if not wanted:
        return user.regions[:1]
    for region in wanted:
        if region not in user.regions:
            raise InvalidRequest(
                f"regions: {region} is not enabled in the workspace, which has {', '.join(user.regions)}"
            )
    return list(dict.fromkeys(region.value for region in wanted))


class Projects:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def create(self, caller: Caller, name: str, description: str, wanted: list[Region]) -> Project:
        """``wanted`` regions may be empty. Names need not be unique."""
        permit(caller, Operation.CREATE_PROJECT)
        _check_name("projectName", name, _MAX_NAME)
        _check_name("projectDescription", description, _MAX_DESCRIPTION)
        if not name:
            raise InvalidRequest("projectName: is empty")
        user = caller.user
        project = Project(
            id=uuid4(),
            seq=0,
            workspace_id=user.workspace_id,
            name=name,
            description=description,
            regions=_regions(user, wanted),
            created_by=user.id,
            created_at=self._clock(),
            organization_code=user.organization_code,
            repositories=[],
        )
        async with self._database.transaction() as connection:
            await projects.insert_project(connection, project)
        return project

    async def get(self, caller: Caller, project_id: str) -> Project:
        async with self._database.connection() as connection:
            return await project_for(connection, caller, project_id)

    async def add_regions(self, caller: Caller, project_id: str, wanted: list[Region]) -> Project:
        """The project may use these regions too; none is ever taken away."""
        async with self._database.transaction() as connection:
            project = await project_for(connection, caller, project_id)
            permit(caller, Operation.CHANGE_PROJECT, project.created_by)
            known = await regions.lock_project_regions(connection, project.id)
            fresh = [region for region in wanted if region not in known]
            joined = [*known, *(_regions(caller.user, fresh) if fresh else [])]
            if joined != known:
                await regions.set_project_regions(connection, project.id, joined)
                subject = f"project:{project.id}"
                now, actor = self._clock(), caller.user.id
                await audit.record(connection, now, actor, "project.regions", subject, {"regions": joined})
        return replace(project, regions=joined)

    async def page(
        self, caller: Caller, only_mine: bool, cursor: str | None, page_size: int
    ) -> Page[Project]:
        permit(caller, Operation.LIST_PROJECTS)
        size = clamp(page_size, MAX_PAGE)
        after = decode_cursor(cursor, Offset, 0)
        owner = caller.user.id if only_mine else None
        async with self._database.connection() as connection:
            found = await projects.page_projects(connection, caller.user.workspace_id, after, owner, size + 1)
        return cut(found, size, lambda project: project.seq)


class Tasks:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def create(self, caller: Caller, project_id: str, name: str, description: str) -> Task:
        permit(caller, Operation.CREATE_TASK)
        _check_name("taskName", name, _MAX_NAME)
        _check_name("taskDescription", description, _MAX_DESCRIPTION)
        now = self._clock()
        async with self._database.transaction() as connection:
            project = await project_for(connection, caller, project_id)
            task = Task(
                id=uuid4(),
                seq=0,
                project_id=project.id,
                name=name,
                description=description,
                created_by=caller.user.id,
                created_at=now,
                last_active_at=now,
                archived_at=None,
                deleted_at=None,
                workspace_id=project.workspace_id,
            )
            await projects.insert_task(connection, task)
        return task

    async def get(self, caller: Caller, project_id: str, task_id: str) -> Task:
        async with self._database.connection() as connection:
            return await own_task(connection, caller, project_id, task_id)

    async def page(self, caller: Caller, project_id: str, cursor: str | None, page_size: int) -> Page[Task]:
        permit(caller, Operation.LIST_TASKS)
        size = clamp(page_size, MAX_PAGE)
        after = decode_cursor(cursor, Offset, 0)
        async with self._database.connection() as connection:
            project = await project_for(connection, caller, project_id)
            found = await projects.page_tasks(connection, project.id, after, size + 1)
        return cut(found, size, lambda task: task.seq)
