"""Projects."""

from typing import Annotated

from litestar import get, patch, post
from litestar.params import JSONBody, QueryParameter

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
from openhtc.api.schemas.projects import (
    ProjectBody,
    ProjectPage,
    ProjectUpdateBody,
    project_body,
)
from openhtc.api.services import Services
from openhtc.storage.projects import Project

OnlyMine = Annotated[bool, QueryParameter(name="onlyMyProjects", required=False)]


def _body(services: Services, project: Project) -> ProjectBody:
    return project_body(project, services.images.address(project.id))


@get("/htc/projects", summary="The workspace's projects")
async def list_projects(
    request: AnyRequest,
    services: WithServices,
    caller: WithCaller,
    only_my_projects: OnlyMine = False,
    page_index: PageIndex = "",
    page_size: PageSize = DEFAULT_PAGE_SIZE,
) -> ProjectPage:
    """In the order in which they were made."""
    page = await services.projects.page(caller, only_my_projects, page_index, page_size)
    return ProjectPage([_body(services, p) for p in page.items], next_page(request, services, page.cursor))


@post("/htc/projects", status_code=200, summary="Make a project")
async def create_project(
    services: WithServices, caller: WithCaller, data: JSONBody[ProjectBody]
) -> ProjectBody:
    """Names need not be unique. Without regions the project gets the workspace's default one."""
    project = await services.projects.create(
        caller, data.project_name, data.project_description, data.wanted_regions()
    )
    return _body(services, project)


@get("/htc/projects/{project_id:str}", summary="One project")
async def get_project(services: WithServices, caller: WithCaller, project_id: PathText) -> ProjectBody:
    """With its registry's address and its repositories."""
    return _body(services, await services.projects.get(caller, project_id))


@patch("/htc/projects/{project_id:str}", summary="Let the project use more regions")
async def add_project_regions(
    services: WithServices, caller: WithCaller, project_id: PathText, data: JSONBody[ProjectUpdateBody]
) -> ProjectBody:
    """The project keeps the regions it has. For its creator and admins."""
    return _body(services, await services.projects.add_regions(caller, project_id, data.wanted_regions()))


HANDLERS = [list_projects, create_project, get_project, add_project_regions]
