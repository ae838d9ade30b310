"""What operators do and the API has no operation for: organizations, workspaces, users, keys."""

import re
import secrets
import string
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from openhtc.domain.enums import Architecture
from openhtc.domain.errors import InvalidRequest, NotFound
from openhtc.domain.identity import Role
from openhtc.domain.regions import Region
from openhtc.services.clock import Clock
from openhtc.services.regions import require_mapped
from openhtc.services.secrets import new_secret, secret_hash
from openhtc.storage import audit, identity, regions
from openhtc.storage.database import Connection, Database
from openhtc.storage.identity import Credential, Organization, UserRow, Workspace, WorkspaceDetails
from openhtc.storage.regions import MappedRegion

BOOTSTRAP_LABEL = "bootstrap"
LONGEST_EXPIRY_DAYS = 36_500
_LONGEST_WORDS = 200
_DEFAULT_ORGANIZATION = "local"
_FIRST_EMAIL = "admin@localhost"
_EMAIL = re.compile(r"[^@\s\x00-\x1f]+@[^@\s\x00-\x1f]+")
_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """The first user's identity; the secrets are shown once."""

    api_key: str
    agent_key: str
    user_id: str
    workspace_id: str


class Administration:
    """Every change is written to the audit trail in the name of ``actor``, in the transaction that makes it."""

    def __init__(self, database: Database, clock: Clock, actor: str) -> None:
        self._database = database
        self._clock = clock
        self._actor = actor

    async def create_organization(self, code: str, name: str) -> None:
        async with self._database.transaction() as connection:
            if not await self._new_organization(connection, code, name):
                raise InvalidRequest(f"organization {code!r} exists already")

    async def list_organizations(self) -> list[Organization]:
        async with self._database.connection() as connection:
            return await identity.list_organizations(connection)

    async def create_workspace(self, name: str, organization: str, wanted: Sequence[Region]) -> str:
        """Returns the new workspace's id. An organization that is new is made."""
        workspace_id = f"{secrets.randbelow(90) + 10:02d}-{secrets.randbelow(9_000_000) + 1_000_000}"
        async with self._database.transaction() as connection:
            await self._new_organization(connection, organization, organization)
            await self._new_workspace(connection, workspace_id, name, organization, wanted)
        return workspace_id

    async def list_workspaces(self) -> list[Workspace]:
        async with self._database.connection() as connection:
            return await identity.list_workspaces(connection)

    async def show_workspace(self, workspace_id: str) -> WorkspaceDetails:
        async with self._database.connection() as connection:
            found = await identity.describe_workspace(connection, workspace_id)
        if found is None:
            raise NotFound(f"there is no workspace {workspace_id!r}")
        return found

    async def set_workspace_regions(self, workspace_id: str, wanted: Sequence[Region]) -> None:
        """What projects of the workspace may use from now on; the first is what new ones get."""
        distinct = _distinct(wanted)
        async with self._database.transaction() as connection:
            await require_mapped(connection, distinct)
            if not await regions.set_workspace_regions(connection, workspace_id, distinct):
                raise NotFound(f"there is no workspace {workspace_id!r}")
            await self._note(connection, "workspace.regions", f"workspace:{workspace_id}", regions=distinct)

    async def set_htc(self, workspace_id: str, on: bool) -> None:
        async with self._database.transaction() as connection:
            if not await identity.set_htc(connection, workspace_id, on):
                raise NotFound(f"there is no workspace {workspace_id!r}")
            await self._note(connection, "workspace.features", f"workspace:{workspace_id}", htc=on)

    async def create_user(
        self, workspace_id: str, email: str, full_name: str, roles: Sequence[Role] = ()
    ) -> str:
        """Returns the new user's id."""
        async with self._database.transaction() as connection:
            return await self._new_user(connection, workspace_id, email, full_name, roles)

    async def list_users(self, workspace_id: str | None) -> list[UserRow]:
        async with self._database.connection() as connection:
            return await identity.list_users(connection, workspace_id)

    async def set_roles(self, user_id: str, roles: Sequence[Role], *, held: bool) -> None:
        async with self._database.transaction() as connection:
            if not await identity.set_roles(connection, user_id, roles, held):
                raise NotFound(f"there is no user {user_id!r}")
            action = "user.roles_granted" if held else "user.roles_revoked"
            await self._note(connection, action, f"user:{user_id}", roles=list(roles))

    async def set_disabled(self, user_id: str, disabled: bool) -> None:
        """A disabled user's keys and tokens are refused at once; jobs that were accepted go on."""
        async with self._database.transaction() as connection:
            if disabled:
                found = await identity.set_disabled(connection, user_id, self._clock())
            else:
                found = await identity.set_enabled(connection, user_id)
            if not found:
                raise NotFound(f"there is no user {user_id!r}")
            await self._note(connection, "user.disabled" if disabled else "user.enabled", f"user:{user_id}")

    async def create_key(
        self,
        kind: str,
        user_id: str | None,
        label: str,
        *,
        days: int | None = None,
        regions: Sequence[Region] | None = None,
    ) -> tuple[UUID, str]:
        """A new secret of a kind: its id for revoking, and the secret, which is stored nowhere.

        ``days`` None: it does not expire. ``regions`` narrows an agent key.
        """
        if days is not None and not 1 <= days <= LONGEST_EXPIRY_DAYS:
            raise InvalidRequest(f"expiry: {days} days, expected 1 to {LONGEST_EXPIRY_DAYS}")
        if label:
            _check_words("label", label)
        async with self._database.transaction() as connection:
            if regions is not None:
                await require_mapped(connection, _distinct(regions))
            return await self._new_key(connection, kind, user_id, label, days, regions)

    async def list_keys(self, user_id: str | None, kind: str | None = None) -> list[Credential]:
        async with self._database.connection() as connection:
            return await identity.list_credentials(connection, user_id, kind)

    async def revoke_key(self, key_id: UUID, kind: str | None = None) -> None:
        """``kind``: refuse to revoke one of another kind."""
        async with self._database.transaction() as connection:
            found = await identity.revoke_credential(connection, key_id, self._clock())
            if found is None or kind not in (None, found):
                raise NotFound(f"there is no live {kind or 'key'} {key_id}")
            await self._note(connection, "key.revoked", f"key:{key_id}", kind=found)

    async def bootstrap(self, wanted: Sequence[Region], architecture: Architecture) -> Bootstrap:
        """First regions, workspace, user and agent key. Run again, it keeps what there is and replaces the keys."""
        async with self._database.transaction() as connection:
            await identity.lock_signing_keys(connection)
            await self._first_regions(connection, wanted, architecture)
            workspace_id, user_id = await self._first_user(connection, wanted)
            await identity.revoke_labelled(connection, BOOTSTRAP_LABEL, self._clock())
            _, api_key = await self._new_key(connection, "api_key", user_id, BOOTSTRAP_LABEL)
            _, agent_key = await self._new_key(connection, "agent_key", None, BOOTSTRAP_LABEL)
        return Bootstrap(api_key, agent_key, user_id, workspace_id)

    async def _first_regions(
        self, connection: Connection, wanted: Sequence[Region], architecture: Architecture
    ) -> None:
        """Map the regions that nobody has mapped yet to nodes of this machine."""
        known = {region.name for region in await regions.list_regions(connection)}
        for name in wanted:
            if name not in known:
                mapped = MappedRegion(
                    name.value, "local", True, 1.0, [architecture.value], BOOTSTRAP_LABEL, self._clock()
                )
                await regions.set_region(connection, mapped)
                await self._note(connection, "region.set", f"region:{name}", provider="local")

    async def _first_user(self, connection: Connection, wanted: Sequence[Region]) -> tuple[str, str]:
        """(workspace, user), made where they are missing."""
        for user in await identity.list_users(connection, None):
            if user.email == _FIRST_EMAIL:
                return user.workspace_id, user.id
        workspace_id = "01-0000001"
        await self._new_organization(connection, _DEFAULT_ORGANIZATION, _DEFAULT_ORGANIZATION)
        await self._new_workspace(connection, workspace_id, "main", _DEFAULT_ORGANIZATION, wanted)
        user_id = await self._new_user(
            connection, workspace_id, _FIRST_EMAIL, "First Admin", [Role.WORKSPACE_ADMIN]
        )
        return workspace_id, user_id

    async def _new_organization(self, connection: Connection, code: str, name: str) -> bool:
        """False when there is one of this code."""
        if _CODE.fullmatch(code) is None:
            raise InvalidRequest(
                f"organization: {code!r}, expected at most 64 letters, digits, dots, hyphens, underscores"
            )
        _check_words("name", name)
        made = await identity.insert_organization(connection, code, name)
        if made:
            await self._note(connection, "organization.created", f"organization:{code}", name=name)
        return made

    async def _new_workspace(
        self,
        connection: Connection,
        workspace_id: str,
        name: str,
        organization: str,
        wanted: Sequence[Region],
    ) -> None:
        _check_words("name", name)
        if "/" in name or name in (".", ".."):
            raise InvalidRequest(f"name: {name!r}, expected one that can be a folder's: clients make it one")
        distinct = _distinct(wanted)
        await require_mapped(connection, distinct)
        await identity.insert_workspace(connection, workspace_id, name, organization, distinct)
        await self._note(
            connection,
            "workspace.created",
            f"workspace:{workspace_id}",
            name=name,
            organization=organization,
            regions=distinct,
        )

    async def _new_user(
        self, connection: Connection, workspace_id: str, email: str, full_name: str, roles: Sequence[Role]
    ) -> str:
        if _EMAIL.fullmatch(email) is None:
            raise InvalidRequest(f"email: {email!r} is not an address")
        _check_words("email", email)
        _check_words("full name", full_name)
        user_id = "".join(secrets.choice(string.ascii_letters) for _ in range(6))
        held = [role in roles for role in (Role.WORKSPACE_ADMIN, Role.ORGANIZATION_ADMIN, Role.OPERATOR)]
        await identity.insert_user(connection, UserRow(user_id, workspace_id, email, full_name, *held))
        await self._note(
            connection,
            "user.created",
            f"user:{user_id}",
            workspace=workspace_id,
            email=email,
            roles=list(roles),
        )
        return user_id

    async def _new_key(
        self,
        connection: Connection,
        kind: str,
        user_id: str | None,
        label: str,
        days: int | None = None,
        narrowed: Sequence[Region] | None = None,
    ) -> tuple[UUID, str]:
        secret, now = new_secret(kind), self._clock()
        expires_at = None if days is None else now + timedelta(days=days)
        key_id = await identity.insert_credential(
            connection,
            kind,
            user_id,
            label,
            secret_hash(secret),
            now=now,
            expires_at=expires_at,
            regions=narrowed,
        )
        details = {"kind": kind, "user": user_id, "label": label, "days": days}
        await self._note(connection, "key.created", f"key:{key_id}", **details)
        return key_id, secret

    async def _note(self, connection: Connection, action: str, subject: str, **details: object) -> None:
        """``details`` never hold a secret."""
        await audit.record(connection, self._clock(), self._actor, action, subject, details)


def _check_words(where: str, words: str) -> None:
    if not 1 <= len(words) <= _LONGEST_WORDS or not words.isprintable():
        raise InvalidRequest(
            f"{where}: {words[:_LONGEST_WORDS]!r}, expected 1 to {_LONGEST_WORDS} printable characters"
        )


def _distinct(wanted: Sequence[Region]) -> list[str]:
    """The names, in order, each once."""
    if not wanted:
        raise InvalidRequest("regions: expected at least one")
    return list(dict.fromkeys(str(name) for name in wanted))
