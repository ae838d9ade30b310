"""The project's container registry, and the registry's own question about a credential."""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from litestar import MediaType, Response, get, post
from litestar.params import QueryParameter

from openhtc.api.errors import registry_refused
from openhtc.api.requests import AnyRequest, Credential, PathText, WithCaller, WithServices
from openhtc.api.schemas.projects import ImagesBody, ImageStatusBody, RepositoryBody
from openhtc.domain.enums import ImageState
from openhtc.domain.errors import Unauthorized

_REGISTRY = "/htc/projects/{project_id:str}/container-registry"


@get(f"{_REGISTRY}/images", summary="Every image of the project, as repository:tag")
async def list_images(services: WithServices, caller: WithCaller, project_id: PathText) -> ImagesBody:
    """What has been pushed to the project's registry."""
    project, images = await services.images.list(caller, project_id)
    return ImagesBody(services.images.address(project.id), images)


@get(f"{_REGISTRY}/images/{{image_name:path}}", summary="Whether an image can be used in jobs")
async def get_image(
    services: WithServices,
    caller: WithCaller,
    project_id: PathText,
    image_name: PathText,
) -> ImageStatusBody:
    """READY, or 404: an image is ready as soon as it has been pushed."""
    await services.images.require(caller, project_id, image_name.removeprefix("/"))
    return ImageStatusBody(ImageState.READY)


@post(f"{_REGISTRY}/repo/{{repo_name:path}}", status_code=200, summary="Make a repository")
async def create_repository(
    services: WithServices,
    caller: WithCaller,
    project_id: PathText,
    repo_name: PathText,
) -> RepositoryBody:
    """`successfullyCreated` is false when there was one already. Pushing an image makes its repository too."""
    name = repo_name.removeprefix("/")
    project, new = await services.images.create_repository(caller, project_id, name)
    return RepositoryBody(
        repository_name=name,
        successfully_created=new,
        project_id=str(project.id),
        created_by=caller.user.id,
        workspace_id=project.workspace_id,
        registry_uri=services.images.address(project.id),
    )


@get(f"{_REGISTRY}/token", media_type=MediaType.TEXT, summary="The password of user AWS for docker login")
async def get_registry_token(services: WithServices, caller: WithCaller, project_id: PathText) -> str:
    """Plain text, good for 12 hours, for this project's repositories only."""
    return await services.registry.password(caller, project_id)


class RegistryGrant(msgspec.Struct, frozen=True):
    """The token service's answer, as the registry's clients read it."""

    token: str
    access_token: str
    expires_in: int


Scopes = Annotated[Sequence[str], QueryParameter(name="scope", required=False)]


@get(
    "/registry/token",
    include_in_schema=False,
    credential=Credential.NONE,
    exception_handlers={Unauthorized: registry_refused},
)
async def grant_registry_access(
    request: AnyRequest, services: WithServices, scopes: Scopes = ()
) -> Response[RegistryGrant]:
    asked = [scope for value in scopes for scope in value.split()]
    token, seconds = await services.registry.grant(request.headers.get("authorization"), asked)
    return Response(RegistryGrant(token, token, seconds), headers={"Cache-Control": "no-store"})


HANDLERS = [list_images, get_image, create_repository, get_registry_token]
