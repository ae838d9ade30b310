"""A project's container registry: repositories, images, and who may push and pull."""

import asyncio
import base64
import binascii
from datetime import datetime, timedelta
from uuid import UUID

from openhtc.domain.errors import ImageUnavailable, InvalidRequest, Unauthorized
from openhtc.domain.identity import Caller, User
from openhtc.domain.names import REPOSITORY_PATTERN, is_repository, split_image
from openhtc.domain.permissions import Operation, permit
from openhtc.lifecycle.turns import outside
from openhtc.registry.client import RegistryClient
from openhtc.registry.scopes import Access, granted, parse_scopes, project_prefix, repository_path
from openhtc.registry.tokens import RegistryTokens
from openhtc.services.access import project_for
from openhtc.services.clock import Clock
from openhtc.services.tokens import Tokens, TokenUse, key_of
from openhtc.storage import identity, projects
from openhtc.storage.database import Connection, Database
from openhtc.storage.projects import Project

REGISTRY_USER = "AWS"
_REGISTRY_SECONDS = 300
_PULL_SECONDS = 3600
_PULL_TOKENS = 1000
"""Kept for use again: signing one costs as much as leasing ten jobs."""
_LISTINGS = 8
_MAX_SCOPES = 20
MAX_REPOSITORIES = 1000


async def _register(connection: Connection, project_id: UUID, name: str, user_id: str, now: datetime) -> bool:
    """Make a repository known; True when it is new. Raises InvalidRequest when there are too many."""
    known = await projects.list_repositories(connection, project_id)
    if name in known:
        return False
    if len(known) >= MAX_REPOSITORIES:
        raise InvalidRequest(
            f"the project has {len(known)} repositories, at most {MAX_REPOSITORIES} are allowed"
        )
    return await projects.insert_repository(connection, project_id, name, user_id, now)


class Images:
    def __init__(
        self, database: Database, registry: RegistryClient, clock: Clock, registry_host: str
    ) -> None:
        self._database = database
        self._registry = registry
        self._clock = clock
        self._host = registry_host

    def address(self, project_id: UUID) -> str:
        """What users put before an image name: no scheme, with a slash at its end."""
        return f"{self._host}/{project_prefix(str(project_id))}"

    async def create_repository(self, caller: Caller, project_id: str, name: str) -> tuple[Project, bool]:
        """True when it is new."""
        permit(caller, Operation.USE_REGISTRY)
        if not is_repository(name):
            raise InvalidRequest(f"repoName: {name!r} does not match {REPOSITORY_PATTERN}")
        async with self._database.transaction() as connection:
            project = await project_for(connection, caller, project_id)
            now = self._clock()
            new = await _register(connection, project.id, name, caller.user.id, now)
        return project, new

    async def list(self, caller: Caller, project_id: str) -> tuple[Project, list[str]]:
        """Every image as ``repository:tag``."""
        permit(caller, Operation.USE_REGISTRY)
        async with self._database.connection() as connection:
            project = await project_for(connection, caller, project_id)
        gate = asyncio.Semaphore(_LISTINGS)

        async def tags(name: str) -> list[str]:
            async with gate, outside():
                found = await self._registry.tags(repository_path(str(project.id), name))
            return [f"{name}:{tag}" for tag in found]

        listed = await asyncio.gather(*(tags(name) for name in project.repositories))
        return project, sorted(image for images in listed for image in images)

    async def require(self, caller: Caller, project_id: str, image: str) -> None:
        """Raises ImageUnavailable with status 404 when there is no such image."""
        permit(caller, Operation.USE_REGISTRY)
        async with self._database.connection() as connection:
            project = await project_for(connection, caller, project_id)
        if await self.digest(project, image) is None:
            raise ImageUnavailable(
                f"image {image!r} is not in the registry of project {project.id}", status=404
            )

    async def digest(self, project: Project, image: str) -> str | None:
        """The digest that a name stands for at the moment."""
        parts = split_image(image)
        if parts is None:
            return None
        async with outside():
            return await self._registry.resolve(repository_path(str(project.id), parts[0]), parts[1])


class RegistryAccess:
    """Answers the registry's question: what may this credential do?"""

    def __init__(
        self, database: Database, tokens: Tokens, registry_tokens: RegistryTokens, clock: Clock
    ) -> None:
        self._database = database
        self._tokens = tokens
        self._registry_tokens = registry_tokens
        self._clock = clock
        self._pull_tokens: dict[str, tuple[str, datetime | None]] = {}

    async def password(self, caller: Caller, project_id: str) -> str:
        """What ``docker login`` takes as the password of user AWS: it opens one project's repositories."""
        permit(caller, Operation.USE_REGISTRY)
        async with self._database.connection() as connection:
            project = await project_for(connection, caller, project_id)
        keys = await self._tokens.keys()
        return self._tokens.registry_token(keys, caller.user, project.id, self._clock(), caller.key_id)

    async def grant(self, authorization: str | None, scopes: list[str]) -> tuple[str, int]:
        """A registry token for what is asked and allowed, and its lifetime in seconds."""
        user, project_id = await self._credential(authorization)
        if sum(len(value.split()) for value in scopes) > _MAX_SCOPES:
            raise InvalidRequest(f"scope: more than {_MAX_SCOPES} in one request")
        access = granted(parse_scopes(scopes), project_prefix(str(project_id)))
        await self._note_pushes(user, project_id, access)
        now = self._clock()
        return self._registry_tokens.sign(user.id, access, _REGISTRY_SECONDS, now), _REGISTRY_SECONDS

    def pull_token(self, repository: str) -> str:
        """A registry token with which an agent pulls from one repository, for half an hour at least."""
        now = self._clock()
        token, made = self._pull_tokens.get(repository, ("", None))
        if made is None or not timedelta(0) <= now - made < timedelta(seconds=_PULL_SECONDS / 2):
            if len(self._pull_tokens) >= _PULL_TOKENS:
                self._pull_tokens.clear()
            token = self._registry_tokens.sign("agent", [Access(repository, ("pull",))], _PULL_SECONDS, now)
            self._pull_tokens[repository] = (token, now)
        return token

    async def _credential(self, authorization: str | None) -> tuple[User, UUID]:
        scheme, _, encoded = (authorization or "").partition(" ")
        try:
            name, _, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            name = password = ""
        if scheme.lower() != "basic" or name != REGISTRY_USER:
            raise Unauthorized(f"log in as user {REGISTRY_USER} with a registry token")
        claims = await self._tokens.read(password, (TokenUse.REGISTRY,), self._clock())
        async with self._database.connection() as connection:
            user = await identity.find_user(connection, str(claims["sub"]), key_of(claims))
        if user is None or user.disabled or not user.htc_enabled:
            raise Unauthorized(
                "the user behind this token is disabled, its key was revoked, or HTC is switched off for the workspace"
            )
        return user, UUID(str(claims["projectId"]))

    async def _note_pushes(self, user: User, project_id: UUID, access: list[Access]) -> None:
        """A push makes its repository known, as `docker push` without a repository is expected to."""
        prefix = project_prefix(str(project_id))
        pushed = [item.name.removeprefix(prefix) for item in access if "push" in item.actions]
        if pushed:
            async with self._database.transaction() as connection:
                for name in pushed:
                    await _register(connection, project_id, name, user.id, self._clock())
