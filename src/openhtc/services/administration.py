"""What operators do and the API has no operation for: workspaces, users, keys."""

import re
import secrets
import string
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from openhtc.domain.errors import InvalidRequest, NotFound
from openhtc.domain.regions import Region
from openhtc.services.secrets import new_secret, secret_hash
from openhtc.storage import identity
from openhtc.storage.database import Connection, Database
from openhtc.storage.identity import Credential, UserRow, Workspace

BOOTSTRAP_LABEL = "bootstrap"
_DEFAULT_ORGANIZATION = "local"
_FIRST_EMAIL = "admin@localhost"
_EMAIL = re.compile(r"[^@\s\x00-\x1f]+@[^@\s\x00-\x1f]+")


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """The first user's identity; the secrets are shown once."""

    api_key: str
    agent_key: str
    user_id: str
    workspace_id: str


class Administration:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def create_workspace(self, name: str, organization: str, regions: Sequence[Region]) -> str:
        """Returns the new workspace's id."""
        if not regions:
            raise InvalidRequest("regions: expected at least one")
        workspace_id = f"{secrets.randbelow(90) + 10:02d}-{secrets.randbelow(9_000_000) + 1_000_000}"
        async with self._database.transaction() as connection:
            await identity.insert_organization(connection, organization, organization)
            await identity.insert_workspace(connection, workspace_id, name, organization, list(regions))
        return workspace_id

    async def list_workspaces(self) -> list[Workspace]:
        async with self._database.connection() as connection:
            return await identity.list_workspaces(connection)

    async def create_user(
        self,
        workspace_id: str,
        email: str,
        full_name: str,
        *,
        workspace_admin: bool = False,
        organization_admin: bool = False,
        operator: bool = False,
    ) -> str:
        """Returns the new user's id."""
        async with self._database.transaction() as connection:
            roles = (workspace_admin, organization_admin, operator)
            return await _insert_user(connection, workspace_id, email, full_name, roles)

    async def list_users(self, workspace_id: str | None) -> list[UserRow]:
        async with self._database.connection() as connection:
            return await identity.list_users(connection, workspace_id)

    async def create_key(self, kind: str, user_id: str | None, label: str) -> tuple[UUID, str]:
        """A new secret of a kind: its id for revoking, and the secret, which is stored nowhere."""
        secret = new_secret(kind)
        async with self._database.transaction() as connection:
            key_id = await identity.insert_credential(connection, kind, user_id, label, secret_hash(secret))
        return key_id, secret

    async def list_keys(self, user_id: str | None) -> list[Credential]:
        async with self._database.connection() as connection:
            return await identity.list_credentials(connection, user_id)

    async def revoke_key(self, key_id: UUID) -> None:
        async with self._database.transaction() as connection:
            if not await identity.revoke_credential(connection, key_id):
                raise NotFound(f"there is no live key {key_id}")

    async def bootstrap(self, region: Region) -> Bootstrap:
        """A first workspace, user and agent key. Run again, it keeps the user and replaces the keys."""
        async with self._database.transaction() as connection:
            await identity.lock_signing_keys(connection)
            workspace_id, user_id = await _first_user(connection, region)
            await identity.revoke_labelled(connection, BOOTSTRAP_LABEL)
            api_key, agent_key = new_secret("api_key"), new_secret("agent_key")
            for kind, owner, secret in (("api_key", user_id, api_key), ("agent_key", None, agent_key)):
                await identity.insert_credential(
                    connection, kind, owner, BOOTSTRAP_LABEL, secret_hash(secret)
                )
        return Bootstrap(api_key, agent_key, user_id, workspace_id)


async def _first_user(connection: Connection, region: Region) -> tuple[str, str]:
    """(workspace, user), made where they are missing."""
    for user in await identity.list_users(connection, None):
        if user.email == _FIRST_EMAIL:
            return user.workspace_id, user.id
    workspace_id = "01-0000001"
    await identity.insert_organization(connection, _DEFAULT_ORGANIZATION, _DEFAULT_ORGANIZATION)
    await identity.insert_workspace(connection, workspace_id, "main", _DEFAULT_ORGANIZATION, [region])
    roles = (True, False, False)
    return workspace_id, await _insert_user(connection, workspace_id, _FIRST_EMAIL, "First Admin", roles)


async def _insert_user(
    connection: Connection, workspace_id: str, email: str, full_name: str, roles: tuple[bool, bool, bool]
) -> str:
    if _EMAIL.fullmatch(email) is None:
        raise InvalidRequest(f"email: {email!r} is not an address")
    user_id = "".join(secrets.choice(string.ascii_letters) for _ in range(6))
    await identity.insert_user(connection, UserRow(user_id, workspace_id, email, full_name, *roles))
    return user_id
