"""Tasks and their life."""

from litestar import delete, get, patch, post
from litestar.params import JSONBody

from openhtc.api.requests import (
    DEFAULT_PAGE_SIZE,
    AnyRequest,
    PageIndex,
    PageSize,
    PathText,
    WithCaller,
    WithServices,
    next_page,
)
from openhtc.api.schemas.tasks import (
    DeletedTaskBody,
    TaskBody,
    TaskPage,
    TaskUpdate,
    deleted_task_body,
    task_body,
)

_TASKS = "/htc/projects/{project_id:str}/tasks"
_TASK = f"{_TASKS}/{{task_id:str}}"


@get(_TASKS, summary="The project's tasks, in every state")
async def list_tasks(
    request: AnyRequest,
    services: WithServices,
    caller: WithCaller,
    project_id: PathText,
    page_index: PageIndex = "",
    page_size: PageSize = DEFAULT_PAGE_SIZE,
) -> TaskPage:
    """In the order in which they were made; deleted ones say so."""
    page = await services.tasks.page(caller, project_id, page_index, page_size)
    return TaskPage([task_body(t) for t in page.items], next_page(request, services, page.cursor))


@post(_TASKS, status_code=200, summary="Make a task")
async def create_task(
    services: WithServices,
    caller: WithCaller,
    project_id: PathText,
    data: JSONBody[TaskBody],
) -> TaskBody:
    """A task collects jobs and has a folder of its own. Names need not be unique."""
    return task_body(await services.tasks.create(caller, project_id, data.task_name, data.task_description))


@get(_TASK, summary="One task")
async def get_task(
    services: WithServices,
    caller: WithCaller,
    project_id: PathText,
    task_id: PathText,
) -> TaskBody:
    """Deleted tasks stay readable."""
    return task_body(await services.tasks.get(caller, project_id, task_id))


@patch(_TASK, summary="Archive a task without unfinished jobs, or make an archived one active again")
async def change_task(
    services: WithServices,
    caller: WithCaller,
    project_id: PathText,
    task_id: PathText,
    data: JSONBody[TaskUpdate],
) -> TaskBody:
    """For the task's creator and admins. An archived task takes no jobs; nothing brings a deleted one back."""
    changed = await services.task_life.change(caller, project_id, task_id, data.lifecycle_status)
    return task_body(changed)


@delete(_TASK, status_code=200, summary="Cancel a task's unfinished jobs and delete it, for good")
async def delete_task(
    services: WithServices,
    caller: WithCaller,
    project_id: PathText,
    task_id: PathText,
) -> DeletedTaskBody:
    """For the task's creator and admins. Its files go once its last job has stopped. Done again, it answers
    the same.
    """
    return deleted_task_body(await services.task_life.delete(caller, project_id, task_id))


HANDLERS = [list_tasks, create_task, get_task, change_task, delete_task]
