"""Credentials of everybody who may knock, made with the installation's own keys."""

import asyncio
import base64
import json
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TypeVar
from uuid import UUID, uuid4

from joserfc.jwk import RSAKey

from openhtc.domain.identity import JobScope, Role, User
from openhtc.domain.regions import Region
from openhtc.embedded.layout import DataLayout
from openhtc.services.administration import Administration
from openhtc.services.regions import Regions
from openhtc.services.signing import Keys, SigningKeys
from openhtc.services.tokens import JobRefresh, Tokens
from openhtc.settings.server import ServerSettings
from openhtc.settings.source import load
from openhtc.storage import identity
from openhtc.storage.database import Database

from ...stack import Stack
from .permission_table import FOREIGN_JOB, OWN_JOB, SIBLING_JOB, SWITCHED_OFF

T = TypeVar("T")
ACTOR = "operator:test"
REGION = Region.AWS_US_EAST_1
"""Mapped, but served by no agent: what is submitted waits."""
_HOUR = timedelta(hours=1)
_ROLES = {
    "workspace admin": Role.WORKSPACE_ADMIN,
    "organization admin": Role.ORGANIZATION_ADMIN,
    "operator": Role.OPERATOR,
    "admin of another workspace": Role.WORKSPACE_ADMIN,
}
_OF_MAIN = (
    "maker of the project",
    "maker of the task",
    "job owner",
    "member",
    "workspace admin",
    "organization admin",
    "operator",
    "disabled user",
)


@dataclass(frozen=True)
class Headers:
    """What an identity shows where a bearer token is asked for, and where a key is."""

    bearer: str | None
    key: str | None


@dataclass(frozen=True)
class Jobs:
    """Where the jobs are whose tokens are made."""

    project: str
    task: str
    other_project: str
    parents: dict[str, tuple[str, str, str]]
    """Project, task and parent job id, by the name of the job's identity."""


@dataclass
class Maker:
    database: Database
    settings: ServerSettings

    def __post_init__(self) -> None:
        self.admin = Administration(self.database, self.database.now, ACTOR)
        self.signing = SigningKeys(self.database, self.settings.secret_key)
        self.tokens = Tokens(self.signing, self.settings.public_url, self.settings.secret_key)

    async def people(self) -> tuple[str, dict[str, User], dict[str, Headers]]:
        """The id of the workspace, everybody's facts, and what they show."""
        await Regions(self.database, self.database.now).set(ACTOR, REGION)
        main, other, off = [
            await self.admin.create_workspace(name, "matrix", [REGION])
            for name in ("matrix", "matrix other", "matrix off")
        ]
        places = dict.fromkeys(_OF_MAIN, main)
        places |= {
            "member of another workspace": other,
            "admin of another workspace": other,
            SWITCHED_OFF: off,
        }
        users, headers = {}, {}
        for name, workspace in places.items():
            roles = [_ROLES[name]] if name in _ROLES else []
            email = f"{name.replace(' ', '-')}@matrix.example"
            user = await self._user(await self.admin.create_user(workspace, email, name, roles))
            users[name], headers[name] = user, await self._headers(user)
        await self.admin.set_htc(off, False)
        await self.admin.set_disabled(users["disabled user"].id, True)
        return main, users, headers

    async def _user(self, user_id: str) -> User:
        async with self.database.connection() as connection:
            found = await identity.find_user(connection, user_id)
        assert found is not None
        return found

    async def _headers(self, user: User) -> Headers:
        _, key = await self.admin.create_key("api_key", user.id, "")
        token = self.tokens.user_token(await self.tokens.keys(), user, self.database.now())
        return Headers(f"Bearer {token}", f"Token {key}")

    async def jobs(self, user: User, parents: dict[str, tuple[str, str, str]]) -> dict[str, Headers]:
        """The tokens of jobs that a user submitted."""
        keys, now = await self.tokens.keys(), self.database.now()
        found = {}
        for name, ids in parents.items():
            project, task, parent = map(UUID, ids)
            scope = JobScope(project, task, parent, 0)
            token = self.tokens.job_token(keys, user, scope, now, _HOUR)
            until = int((now + _HOUR).timestamp())
            refresh = self.tokens.job_refresh_token(JobRefresh(user.id, project, task, parent, 0, until))
            found[name] = Headers(f"Bearer {token}", f"Refresh {refresh}")
        return found

    async def nobody(self, user: User, project: str) -> dict[str, Headers]:
        """Everything that opens nothing, though some of it was good once or is good elsewhere."""
        keys, now = await self.tokens.keys(), self.database.now()
        token = self.tokens.user_token(keys, user, now)
        _, key = await self.admin.create_key("api_key", user.id, "")
        revoked_id, revoked = await self.admin.create_key("api_key", user.id, "")
        await self.admin.revoke_key(revoked_id)
        past = Administration(self.database, lambda: now - timedelta(days=3), ACTOR)
        _, expired_key = await past.create_key("api_key", user.id, "", days=2)
        elsewhere = Tokens(self.signing, "https://other.example", self.settings.secret_key)
        secrets = {
            "garbage": "garbage",
            "expired token": self.tokens.user_token(keys, user, now - timedelta(hours=7)),
            "wrong signature": self.tokens.user_token(_forged(keys), user, now),
            "alg none": _with_header(token, {"alg": "none"}),
            "unknown kid": _with_header(token, {"alg": "RS256", "kid": str(uuid4())}),
            "another issuer": elsewhere.user_token(keys, user, now),
            "revoked key": revoked,
            "expired key": expired_key,
            "registry token": self.tokens.registry_token(keys, user, UUID(project), now),
            "agent token": self.tokens.agent_token(keys, 1, now),
            "agent key": (await self.admin.create_key("agent_key", None, ""))[1],
            "metrics key": (await self.admin.create_key("metrics_key", None, ""))[1],
        }
        found = {name: Headers(f"Bearer {secret}", f"Token {secret}") for name, secret in secrets.items()}
        found["no token"] = Headers(None, None)
        found["key and token exchanged"] = Headers(f"Bearer {key}", f"Token {token}")
        found["key and token under the wrong scheme"] = Headers(f"Token {key}", f"Bearer {token}")
        return found


def _forged(keys: Keys) -> Keys:
    """A key of our own under the service's key id."""
    return replace(keys, signing=RSAKey.generate_key(2048, {"kid": keys.signing.kid}))


def _with_header(token: str, header: dict[str, str]) -> str:
    encoded = base64.urlsafe_b64encode(json.dumps(header).encode()).rstrip(b"=").decode()
    signature = "" if header["alg"] == "none" else token.split(".")[2]
    return f"{encoded}.{token.split('.')[1]}.{signature}"


def made(stack: Stack, work: Callable[[Maker], Awaitable[T]]) -> T:
    """Run with a maker on the installation's database."""

    async def connected() -> T:
        settings = load(ServerSettings, DataLayout(stack.data).server_settings, os.environ)
        database = await Database.connect(settings.database_url, 2)
        try:
            return await work(Maker(database, settings))
        finally:
            await database.close()

    return asyncio.run(connected())


JOB_NAMES = (OWN_JOB, SIBLING_JOB, FOREIGN_JOB, "ended job")
