"""Users, workspaces and long-lived secrets."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from openhtc.domain.errors import InvalidRequest
from openhtc.domain.identity import User
from openhtc.storage.database import Connection
from openhtc.storage.queries import load

_SQL = load("identity")


@dataclass(frozen=True, slots=True)
class Organization:
    code: str
    name: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Workspace:
    id: str
    name: str
    organization_code: str
    regions: list[str]
    htc_enabled: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class WorkspaceDetails(Workspace):
    """``limit_vcpus`` None: no limit; ``dimensions``: how many environments its jobs are held to, 0 for all."""

    limit_vcpus: int | None
    dimensions: int
    users: int
    projects: int


@dataclass(frozen=True, slots=True)
class UserRow:
    id: str
    workspace_id: str
    email: str
    full_name: str
    is_workspace_admin: bool
    is_organization_admin: bool
    is_operator: bool
    disabled: bool = False


@dataclass(frozen=True, slots=True)
class Credential:
    id: UUID
    kind: str
    user_id: str | None
    label: str
    regions: list[str] | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class LiveCredential:
    """``user_id`` is None for keys of the installation; ``regions`` narrows an agent key."""

    id: UUID
    user_id: str | None
    regions: list[str] | None


@dataclass(frozen=True, slots=True)
class SigningKey:
    kid: UUID
    private_pem: str
    job_private_pem: str
    ready: bool


async def insert_organization(connection: Connection, code: str, name: str) -> bool:
    """False, and nothing is done, when the organization exists."""
    return await connection.fetchval(_SQL["insert_organization"], code, name) is not None


async def list_organizations(connection: Connection) -> list[Organization]:
    return [Organization(**row) for row in await connection.fetch(_SQL["list_organizations"])]


async def insert_workspace(
    connection: Connection, workspace_id: str, name: str, organization: str, regions: Sequence[str]
) -> None:
    try:
        await connection.execute(_SQL["insert_workspace"], workspace_id, name, organization, list(regions))
    except asyncpg.UniqueViolationError:
        raise InvalidRequest(f"workspace {workspace_id!r} exists already") from None
    except asyncpg.CheckViolationError:
        raise InvalidRequest(f"workspace name {name!r}: expected a text without '/'") from None


async def list_workspaces(connection: Connection) -> list[Workspace]:
    return [Workspace(**row) for row in await connection.fetch(_SQL["list_workspaces"])]


async def describe_workspace(connection: Connection, workspace_id: str) -> WorkspaceDetails | None:
    row = await connection.fetchrow(_SQL["describe_workspace"], workspace_id)
    return None if row is None else WorkspaceDetails(**row)


async def set_htc(connection: Connection, workspace_id: str, on: bool) -> bool:
    """False when there is no such workspace."""
    return await connection.fetchval(_SQL["set_htc"], workspace_id, on) is not None


async def insert_user(connection: Connection, user: UserRow) -> None:
    try:
        await connection.execute(
            _SQL["insert_user"],
            user.id,
            user.workspace_id,
            user.email,
            user.full_name,
            user.is_workspace_admin,
            user.is_organization_admin,
            user.is_operator,
        )
    except asyncpg.UniqueViolationError:
        raise InvalidRequest(f"user {user.email!r} exists already in workspace {user.workspace_id}") from None
    except asyncpg.ForeignKeyViolationError:
        raise InvalidRequest(f"there is no workspace {user.workspace_id!r}") from None


async def list_users(connection: Connection, workspace_id: str | None) -> list[UserRow]:
    return [UserRow(**row) for row in await connection.fetch(_SQL["list_users"], workspace_id)]


async def find_user(connection: Connection, user_id: str, key_id: UUID | None = None) -> User | None:
    """None also when the key was revoked through which somebody acts as this user."""
    row = await connection.fetchrow(_SQL["find_user"], user_id, key_id)
    return None if row is None else User(**row)


async def set_roles(connection: Connection, user_id: str, roles: Sequence[str], held: bool) -> bool:
    """Give or take the named roles; False when there is no such user."""
    return await connection.fetchval(_SQL["set_roles"], user_id, list(roles), held) is not None


async def set_disabled(connection: Connection, user_id: str, now: datetime) -> bool:
    """False when there is no such user."""
    return await connection.fetchval(_SQL["set_disabled"], user_id, now) is not None


async def set_enabled(connection: Connection, user_id: str) -> bool:
    """False when there is no such user."""
    return await connection.fetchval(_SQL["set_enabled"], user_id) is not None


async def insert_credential(
    connection: Connection,
    kind: str,
    user_id: str | None,
    label: str,
    secret_hash: bytes,
    *,
    now: datetime | None = None,
    expires_at: datetime | None = None,
    regions: Sequence[str] | None = None,
) -> UUID:
    """``regions`` narrows an agent key. ``now`` None: the database's clock."""
    narrowed = None if regions is None else list(regions)
    try:
        found: UUID = await connection.fetchval(
            _SQL["insert_credential"], kind, user_id, label, secret_hash, now, expires_at, narrowed
        )
    except asyncpg.ForeignKeyViolationError:
        raise InvalidRequest(f"there is no user {user_id!r}") from None
    except asyncpg.CheckViolationError:
        expected = "no user" if kind in ("agent_key", "metrics_key") else "a user"
        raise InvalidRequest(f"user: {user_id!r}, but a credential of kind {kind} has {expected}") from None
    return found


async def find_credential(
    connection: Connection, kind: str, secret_hash: bytes, now: datetime
) -> LiveCredential | None:
    """What stands behind a secret that is neither revoked nor expired."""
    row = await connection.fetchrow(_SQL["find_credential"], secret_hash, kind, now)
    return None if row is None else LiveCredential(**row)


async def revoke_credential(connection: Connection, credential_id: UUID, now: datetime) -> str | None:
    """The kind of the credential; None when there is no such live one."""
    kind: str | None = await connection.fetchval(_SQL["revoke_credential"], credential_id, now)
    return kind


async def revoke_labelled(connection: Connection, label: str, now: datetime) -> None:
    await connection.execute(_SQL["revoke_labelled"], label, now)


async def list_credentials(
    connection: Connection, user_id: str | None, kind: str | None = None
) -> list[Credential]:
    """All of them, or one user's, or those of one kind."""
    return [Credential(**row) for row in await connection.fetch(_SQL["list_credentials"], user_id, kind)]


async def is_shut_out(connection: Connection, agent_no: int) -> bool:
    """Whether the key that an agent joined with was revoked."""
    return bool(await connection.fetchval(_SQL["is_shut_out"], agent_no))


async def retire_signing_keys(connection: Connection) -> None:
    """All that there are: they verify until the last token that they signed has expired."""
    await connection.execute(_SQL["retire_signing_keys"])


async def insert_signing_key(
    connection: Connection, kid: UUID, private_pem: str, job_private_pem: str
) -> None:
    await connection.execute(_SQL["insert_signing_key"], kid, private_pem, job_private_pem)


async def lock_signing_keys(connection: Connection) -> None:
    await connection.execute(_SQL["lock_signing_keys"])


async def list_signing_keys(connection: Connection) -> list[SigningKey]:
    return [SigningKey(**row) for row in await connection.fetch(_SQL["list_signing_keys"])]
