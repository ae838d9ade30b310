"""Those who are locked out: users, whole workspaces, agents, keys."""

from uuid import UUID

import pytest

from openhtc.domain.errors import Forbidden, Unauthorized
from openhtc.domain.work import AgentHello, AgentSession, Capacity, LeaseRequest

from .conftest import Core
from .credentials import administration, as_password, every_kind

NODE = Capacity(8, 16_000, 100)
HELLO = AgentHello("node-1", ["AWS_US_WEST_2"], NODE, "X86", "bubblewrap", "0.1")


async def test_a_workspace_that_is_switched_off(core: Core) -> None:
    """Keys tell who somebody is, tokens of users open nothing, and jobs end as they were promised."""
    user = await core.world.user()
    credentials = await every_kind(core, user)
    await administration(core).set_htc(user.workspace_id, False)
    with pytest.raises(Forbidden, match="switched off") as refused:
        await core.authentication.by_bearer(credentials["user"])
    assert refused.value.code == "HTC_DISABLED"
    for kind in ("api_key", "refresh"):
        assert not (await core.authentication.by_key(credentials[kind])).user.htc_enabled
    with pytest.raises(Unauthorized, match="switched off"):
        await core.registry.grant(as_password(credentials["registry"]), [])
    assert (await core.authentication.by_bearer(credentials["job"])).job is not None
    await administration(core).set_htc(user.workspace_id, True)
    await core.authentication.by_bearer(credentials["user"])


async def test_a_disabled_user(core: Core) -> None:
    """Every key and token is refused at once, those of running jobs too; it all is good again afterwards."""
    user = await core.world.user()
    credentials = await every_kind(core, user)
    doors = {
        "api_key": core.authentication.by_key,
        "refresh": core.authentication.by_key,
        "user": core.authentication.by_bearer,
        "job": core.authentication.by_bearer,
    }
    await administration(core).set_disabled(user.id, True)
    for kind, door in doors.items():
        with pytest.raises(Unauthorized, match="disabled"):
            await door(credentials[kind])
    with pytest.raises(Unauthorized, match="disabled"):
        await core.registry.grant(as_password(credentials["registry"]), [])
    await administration(core).set_disabled(user.id, False)
    for kind, door in doors.items():
        assert (await door(credentials[kind])).user == user
    await core.registry.grant(as_password(credentials["registry"]), [])


async def test_jobs_of_a_disabled_user_run_on(core: Core) -> None:
    user = await core.world.user()
    batch = await core.world.batch(await core.world.task(user), 2)
    agent = await core.world.agent()
    await administration(core).set_disabled(user.id, True)
    found = await core.leasing.lease(agent, LeaseRequest(NODE, 10, 0))
    assert [(job.batch, job.index) for job in found.jobs] == [(batch.no, 0), (batch.no, 1)]


async def test_an_agent_ends_with_the_key_that_it_joined_with(core: Core) -> None:
    kept, _ = await join(core)
    other, key_id = await join(core)
    await administration(core).revoke_key(key_id)
    with pytest.raises(Unauthorized, match="revoked"):
        await core.authentication.agent_by_bearer(f"Bearer {other.token}")
    assert await core.authentication.agent_by_bearer(f"Bearer {kept.token}") == kept.agent
    await core.world.batch(await core.world.task(), 2)
    with pytest.raises(Unauthorized, match="given up"):
        await core.leasing.lease(other.agent, LeaseRequest(NODE, 1, 0))
    assert len((await core.leasing.lease(kept.agent, LeaseRequest(NODE, 1, 0))).jobs) == 1


async def join(core: Core) -> tuple[AgentSession, UUID]:
    """An agent's session, and the id of the key that it joined with."""
    key_id, secret = await administration(core).create_key("agent_key", None, "", days=1)
    key = await core.authentication.agent_by_key(f"Token {secret}")
    return await core.leasing.open_session(HELLO, key), key_id


async def test_an_agent_outlives_the_expiry_of_its_key(core: Core) -> None:
    agent = (await join(core))[0].agent
    core.world.clock.step(25 * 3600)
    token = core.tokens.agent_token(await core.tokens.keys(), agent, core.world.clock.now)
    assert await core.authentication.agent_by_bearer(f"Bearer {token}") == agent


async def test_nobody_joins_with_an_expired_key(core: Core) -> None:
    _, secret = await administration(core).create_key("agent_key", None, "", days=1)
    core.world.clock.step(24 * 3600)
    with pytest.raises(Unauthorized):
        await core.authentication.agent_by_key(f"Token {secret}")


async def test_a_key_that_expires(core: Core) -> None:
    user = await core.world.user()
    _, secret = await administration(core).create_key("api_key", user.id, "", days=2)
    core.world.clock.step(2 * 86400 - 1)
    await core.authentication.by_key(f"Token {secret}")
    core.world.clock.step(1)
    with pytest.raises(Unauthorized, match="expired"):
        await core.authentication.by_key(f"Token {secret}")
