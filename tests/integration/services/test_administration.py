"""What operators do beside the API, and what the audit trail keeps of it."""

from typing import Any
from uuid import uuid4

import pytest

from openhtc.domain.enums import Architecture
from openhtc.domain.errors import InvalidRequest, NotFound, Unauthorized
from openhtc.domain.identity import Role
from openhtc.domain.regions import Region
from openhtc.services.administration import Administration
from openhtc.storage import audit, identity

from .conftest import Core
from .credentials import ACTOR, administration

WEST, CENTRAL = Region.AWS_US_WEST_2, Region.GCP_US_CENTRAL_1


async def trail(core: Core, **narrow: str) -> list[tuple[str, str, str]]:
    """(actor, action, subject), the newest first."""
    async with core.world.database.connection() as connection:
        found = await audit.list_entries(
            connection, 2**62, narrow.get("actor"), narrow.get("subject"), limit=100
        )
    return [(entry.actor, entry.action, entry.subject) for entry in found]


async def details(core: Core, subject: str) -> dict[str, Any]:
    """Of the newest entry about a subject."""
    async with core.world.database.connection() as connection:
        return (await audit.list_entries(connection, 2**62, None, subject, 1))[0].details


@pytest.fixture
async def workspace(core: Core) -> str:
    for region in (WEST, CENTRAL):
        await core.regions.set(ACTOR, region)
    return await administration(core).create_workspace("w", "org", [WEST])


async def test_bootstrap_twice_keeps_the_user_and_replaces_the_keys(core: Core) -> None:
    admin = administration(core)
    first = await admin.bootstrap([WEST], Architecture.X86)
    second = await admin.bootstrap([WEST], Architecture.X86)
    assert (first.user_id, first.workspace_id) == (second.user_id, second.workspace_id)
    assert first.api_key != second.api_key
    found = await core.authentication.by_key(f"Token {second.api_key}")
    assert found.user.administers_workspace
    await core.authentication.agent_by_key(f"Token {second.agent_key}")
    with pytest.raises(Unauthorized):
        await core.authentication.by_key(f"Token {first.api_key}")
    with pytest.raises(Unauthorized):
        await core.authentication.agent_by_key(f"Token {first.agent_key}")


async def test_what_cannot_be_is_refused(core: Core, workspace: str) -> None:
    admin = administration(core)
    somebody = (await core.world.user()).id
    await admin.create_user(workspace, "a@example.org", "A")
    await admin.create_organization("acme", "Acme")
    before = await trail(core)
    for attempt, said in (
        (admin.create_user(workspace, "a@example.org", "again"), "exists already"),
        (admin.create_user(workspace, "no address", "A"), "is not an address"),
        (admin.create_user(workspace, "b@example.org", "B\0"), "printable"),
        (admin.create_user(workspace, "b@example.org", ""), "full name"),
        (admin.create_user("99-nowhere", "b@example.org", "B"), "there is no workspace"),
        (admin.create_workspace("a/b", "org", [WEST]), "folder"),
        (admin.create_workspace("..", "org", [WEST]), "folder"),
        (admin.create_workspace("", "org", [WEST]), "name"),
        (admin.create_workspace("w\udcff", "org", [WEST]), "printable"),
        (admin.create_workspace("w", "org", []), "at least one"),
        (admin.create_workspace("w", "org", [Region.AZURE_US_WEST_2]), "is not mapped to a provider"),
        (admin.create_workspace("w", "o r g", [WEST]), "organization"),
        (admin.create_organization("acme", "Again"), "exists already"),
        (admin.set_workspace_regions(workspace, []), "at least one"),
        (admin.set_workspace_regions(workspace, [Region.AZURE_US_WEST_2]), "is not mapped"),
        (admin.create_key("api_key", "nobody", ""), "there is no user"),
        (admin.create_key("api_key", None, ""), "has a user"),
        (admin.create_key("agent_key", somebody, ""), "has no user"),
        (admin.create_key("metrics_key", somebody, ""), "has no user"),
        (admin.create_key("agent_key", None, "", days=0), "expected 1 to"),
        (admin.create_key("agent_key", None, "", days=10**9), "expected 1 to"),
        (admin.create_key("agent_key", None, "", regions=[Region.AZURE_US_WEST_2]), "is not mapped"),
        (admin.create_key("agent_key", None, "x" * 201), "label"),
    ):
        with pytest.raises(InvalidRequest, match=said):
            await attempt
    assert await trail(core) == before


async def test_what_is_not_there_is_refused(core: Core, workspace: str) -> None:
    admin = administration(core)
    key_id, _ = await admin.create_key("metrics_key", None, "")
    before = await trail(core)
    for attempt in (
        admin.set_roles("nobody", [Role.OPERATOR], held=True),
        admin.set_disabled("nobody", True),
        admin.set_disabled("nobody", False),
        admin.set_htc("99-nowhere", False),
        admin.set_workspace_regions("99-nowhere", [WEST]),
        admin.show_workspace("99-nowhere"),
        admin.revoke_key(uuid4()),
        admin.revoke_key(key_id, "agent_key"),
    ):
        with pytest.raises(NotFound):
            await attempt
    assert await trail(core) == before
    assert (await admin.list_keys(None, "metrics_key"))[0].revoked_at is None


async def test_a_workspace_needs_a_mapped_region(core: Core) -> None:
    with pytest.raises(
        InvalidRequest, match="AWS_US_WEST_2 is not mapped to a provider; no region is mapped"
    ):
        await administration(core).create_workspace("w", "org", [WEST])


async def test_every_change_is_in_the_trail(core: Core, workspace: str) -> None:
    admin = administration(core)
    user = await admin.create_user(workspace, "a@example.org", "A", [Role.WORKSPACE_ADMIN])
    key_id, secret = await admin.create_key("api_key", user, "laptop", days=3)
    await admin.create_organization("acme", "Acme")
    await admin.set_workspace_regions(workspace, [CENTRAL, WEST, CENTRAL])
    await admin.set_htc(workspace, False)
    await admin.set_roles(user, [Role.OPERATOR], held=True)
    await admin.set_roles(user, [Role.WORKSPACE_ADMIN, Role.OPERATOR], held=False)
    await admin.set_disabled(user, True)
    await admin.set_disabled(user, False)
    await admin.revoke_key(key_id)
    found = await trail(core)
    assert {actor for actor, _, _ in found} == {ACTOR}
    assert [(action, subject) for _, action, subject in reversed(found)][2:] == [
        ("organization.created", "organization:org"),
        ("workspace.created", f"workspace:{workspace}"),
        ("user.created", f"user:{user}"),
        ("key.created", f"key:{key_id}"),
        ("organization.created", "organization:acme"),
        ("workspace.regions", f"workspace:{workspace}"),
        ("workspace.features", f"workspace:{workspace}"),
        ("user.roles_granted", f"user:{user}"),
        ("user.roles_revoked", f"user:{user}"),
        ("user.disabled", f"user:{user}"),
        ("user.enabled", f"user:{user}"),
        ("key.revoked", f"key:{key_id}"),
    ]
    assert await details(core, f"workspace:{workspace}") == {"htc": False}
    assert secret not in str(await core.world.rows("SELECT * FROM audit"))


async def test_one_actor_or_subject_of_the_trail(core: Core, workspace: str) -> None:
    other = Administration(core.world.database, core.world.clock, "operator:other")
    await other.set_htc(workspace, True)
    assert [action for _, action, _ in await trail(core, actor="operator:other")] == ["workspace.features"]
    assert [action for _, action, _ in await trail(core, subject=f"workspace:{workspace}")] == [
        "workspace.features",
        "workspace.created",
    ]


async def test_roles_hold_at_once(core: Core, workspace: str) -> None:
    admin = administration(core)
    user = await admin.create_user(workspace, "a@example.org", "A")
    _, key = await admin.create_key("api_key", user, "")

    async def roles() -> list[str]:
        return (await core.authentication.by_key(f"Token {key}")).user.roles

    assert await roles() == ["member"]
    await admin.set_roles(user, [Role.WORKSPACE_ADMIN, Role.ORGANIZATION_ADMIN], held=True)
    assert await roles() == ["member", "workspace_admin", "organization_admin"]
    await admin.set_roles(user, [Role.WORKSPACE_ADMIN], held=False)
    assert await roles() == ["member", "organization_admin"]
    await admin.set_roles(user, [Role.OPERATOR], held=True)
    assert await roles() == ["member", "organization_admin", "operator"]


async def test_what_lists_show(core: Core, workspace: str) -> None:
    admin = administration(core)
    user = await admin.create_user(workspace, "a@example.org", "A")
    await admin.set_disabled(user, True)
    (row,) = await admin.list_users(workspace)
    assert (row.id, row.disabled) == (user, True)
    assert [(found.code, found.name) for found in await admin.list_organizations()] == [("org", "org")]
    key_id, _ = await admin.create_key("agent_key", None, "rack 1", days=2, regions=[WEST])
    (key,) = await admin.list_keys(None, "agent_key")
    assert (key.id, key.label, key.regions, key.revoked_at) == (key_id, "rack 1", ["AWS_US_WEST_2"], None)
    assert key.expires_at is not None and (key.expires_at - key.created_at).days == 2
    await admin.revoke_key(key_id)
    assert (await admin.list_keys(None))[0].revoked_at == core.world.clock.now


async def test_one_workspace(core: Core, workspace: str) -> None:
    admin = administration(core)
    await admin.set_workspace_regions(workspace, [CENTRAL, WEST])
    user = await admin.create_user(workspace, "a@example.org", "A")
    async with core.world.database.connection() as connection:
        found = await identity.find_user(connection, user)
    assert found is not None and found.regions == [CENTRAL, WEST]
    await core.world.task(found)
    await core.limits.set_workspace(ACTOR, workspace, 12)
    shown = await admin.show_workspace(workspace)
    assert (shown.name, shown.regions, shown.limit_vcpus) == ("w", [CENTRAL, WEST], 12)
    assert (shown.users, shown.projects, shown.dimensions, shown.htc_enabled) == (1, 1, 0, True)
