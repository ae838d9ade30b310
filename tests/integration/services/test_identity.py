"""Who may come in, with what, and where."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

from openhtc.domain.errors import NotFound, Unauthorized
from openhtc.domain.identity import JobScope
from openhtc.services.signing import SigningKeys
from openhtc.services.tokens import JobRefresh, Tokens, TokenUse

from ..world import SECRET_KEY
from .conftest import ISSUER_URL, Core
from .credentials import administration, as_password, every_kind

EVERY_USE = tuple(TokenUse)


async def test_each_kind_of_credential_is_refused_where_it_does_not_belong(core: Core) -> None:
    credentials = await every_kind(core, await core.world.user())
    doors = {
        core.authentication.by_key: {"api_key", "refresh"},
        core.authentication.by_bearer: {"user", "job"},
        core.authentication.agent_by_key: {"agent_key"},
        core.authentication.agent_by_bearer: {"agent"},
    }
    for door, welcome in doors.items():
        for kind, header in credentials.items():
            if kind in welcome:
                await door(header)
            else:
                with pytest.raises(Unauthorized):
                    await door(header)


async def test_the_registry_takes_its_own_token_only(core: Core) -> None:
    user = await core.world.user()
    credentials = await every_kind(core, user)
    for kind, header in credentials.items():
        secret = header.partition(" ")[2]
        basic = as_password(header)
        if kind == "registry":
            await core.registry.grant(basic, [])
        else:
            with pytest.raises(Unauthorized):
                await core.registry.grant(basic, [])
        for wrong in (header, "Basic " + base64.b64encode(f"me:{secret}".encode()).decode()):
            with pytest.raises(Unauthorized):
                await core.registry.grant(wrong, [])


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Token",
        "Token ",
        "Bearer",
        "Basic QTpC",
        "Refresh x",
        "Refresh ohj_",
        "Refresh ohj_abc.é",
        "Refresh ohj_é.abc",
        "Token é",
        "Bearer é.é.é",
        "Bearer a.b.c",
        "Bearer ..",
        "Bearer W10.W10.W10",
        "Bearer bnVsbA.bnVsbA.bnVsbA",
        "Bearer " + "W1tb" * 3000 + ".e30.e30",
    ],
)
async def test_nonsense_is_refused(core: Core, header: str | None) -> None:
    authentication = core.authentication
    for door in (
        authentication.by_key,
        authentication.by_bearer,
        authentication.agent_by_key,
        authentication.agent_by_bearer,
    ):
        with pytest.raises(Unauthorized):
            await door(header)


async def test_an_expired_token_is_refused(core: Core) -> None:
    credentials = await every_kind(core, await core.world.user())
    core.world.clock.step(3600 - 1)
    await core.authentication.by_bearer(credentials["user"])
    await core.authentication.by_bearer(credentials["job"])
    await core.authentication.agent_by_bearer(credentials["agent"])
    core.world.clock.step(2)
    await core.authentication.by_bearer(credentials["user"])
    for kind, door in (
        ("job", core.authentication.by_bearer),
        ("agent", core.authentication.agent_by_bearer),
    ):
        with pytest.raises(Unauthorized, match="expired"):
            await door(credentials[kind])
    core.world.clock.step(5 * 3600)
    with pytest.raises(Unauthorized, match="expired"):
        await core.authentication.by_bearer(credentials["user"])


def decoded(part: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def encoded(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


async def test_a_changed_token_is_refused(core: Core) -> None:
    user = await core.world.user()
    keys = await core.tokens.keys()
    token = core.tokens.user_token(keys, user, core.world.clock.now)
    head, body, seal = token.split(".")
    other = encoded({**decoded(body), "sub": "somebody"})
    unsigned = encoded({**decoded(head), "alg": "none"})
    longer = encoded({**decoded(body), "exp": decoded(body)["exp"] + 10**6})
    public = json.dumps(keys.public()[0])
    symmetric = jwt.encode(
        {"alg": "HS256", "kid": keys.signing.kid}, decoded(body), OctKey.import_key(public), ["HS256"]
    )
    for changed in (
        f"{head}.{other}.{seal}",
        f"{head}.{longer}.{seal}",
        f"{unsigned}.{body}.",
        f"{unsigned}.{body}.{seal}",
        f"{encoded({**decoded(head), 'kid': str(uuid4())})}.{body}.{seal}",
        f"{encoded({'alg': 'RS256'})}.{body}.{seal}",
        f"{head}.{body}.",
        f"{head}.{body}",
        symmetric,
    ):
        with pytest.raises(Unauthorized):
            await core.tokens.read(changed, EVERY_USE, core.world.clock.now)
    assert (await core.tokens.read(token, EVERY_USE, core.world.clock.now))["sub"] == user.id


async def test_tokens_of_a_stranger_are_refused(core: Core) -> None:
    """Another installation's, with another key under our kid, or with our key and another issuer."""
    user = await core.world.user()
    keys = await core.tokens.keys()
    now = core.world.clock.now
    foreign = RSAKey.generate_key(2048, {"kid": keys.signing.kid})
    claims = {"iss": ISSUER_URL, "sub": user.id, "exp": 2**33, "use": "user"}
    forged = jwt.encode({"alg": "RS256", "kid": keys.signing.kid}, claims, foreign, ["RS256"])
    elsewhere = Tokens(SigningKeys(core.world.database, SECRET_KEY), "https://other.example", SECRET_KEY)
    for token in (forged, elsewhere.user_token(keys, user, now)):
        with pytest.raises(Unauthorized):
            await core.tokens.read(token, EVERY_USE, now)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, 2000), letter=st.sampled_from("ABab01-_.=é \0"))
def test_no_letter_of_a_refresh_token_can_be_changed(position: int, letter: str) -> None:
    tokens = Tokens(None, ISSUER_URL, SECRET_KEY)  # type: ignore[arg-type]
    now = datetime(2026, 3, 1, tzinfo=UTC)
    made = tokens.job_refresh_token(JobRefresh("user", uuid4(), uuid4(), uuid4(), 3, 2**32))
    at = position % len(made)
    changed = made[:at] + letter + made[at + 1 :]
    if changed == made:
        assert tokens.read_job_refresh(changed, now) is not None
    else:
        assert tokens.read_job_refresh(changed, now) is None


async def test_a_user_token_says_who_it_is(core: Core) -> None:
    user = await core.world.user(admin=True)
    token = core.tokens.user_token(await core.tokens.keys(), user, core.world.clock.now)
    found = await core.authentication.by_bearer(f"Bearer {token}")
    claims = dict(found.claims)
    assert claims["groups"] == ["member", "workspace_admin"]
    wanted = ("userFullName", "userEmail", "workspaceName", "workspaceId", "organizationCode")
    assert [claims[name] for name in wanted] == [
        user.full_name,
        user.email,
        user.workspace_name,
        user.workspace_id,
        user.organization_code,
    ]
    assert int(str(claims["exp"])) - int(str(claims["iat"])) == 6 * 3600


async def test_the_tokens_of_a_job_end_with_it(core: Core) -> None:
    user = await core.world.user()
    task = await core.world.task(user)
    batch = await core.world.batch(task)
    agent = await core.world.agent()
    (grant,) = await core.world.grant(agent, (batch, 1))
    scope = JobScope(task.project, task.id, batch.id, 0)
    token = core.tokens.job_token(
        await core.tokens.keys(), user, scope, core.world.clock.now, timedelta(hours=1)
    )
    assert (await core.authentication.by_bearer(f"Bearer {token}")).job == scope
    await core.world.report(agent, core.world.end(grant))
    with pytest.raises(Unauthorized, match="ended"):
        await core.authentication.by_bearer(f"Bearer {token}")


async def test_a_revoked_key_is_refused(core: Core) -> None:
    user = await core.world.user()
    admin = administration(core)
    key_id, secret = await admin.create_key("api_key", user.id, "laptop")
    assert (await core.authentication.by_key(f"Token {secret}")).user == user
    await admin.revoke_key(key_id)
    with pytest.raises(Unauthorized):
        await core.authentication.by_key(f"Token {secret}")
    with pytest.raises(NotFound):
        await admin.revoke_key(key_id)
    assert [key.label for key in await admin.list_keys(user.id)] == ["laptop"]


async def test_what_was_made_with_a_key_ends_with_it(core: Core) -> None:
    user = await core.world.user(admin=True)
    admin = administration(core)
    lost_id, lost = await admin.create_key("api_key", user.id, "lost laptop")
    _, kept = await admin.create_key("api_key", user.id, "another")
    project = str((await core.world.task(user)).project)
    bearers, passwords = {}, {}
    for name, secret in (("lost", lost), ("kept", kept)):
        who = await core.authentication.by_key(f"Token {secret}")
        bearers[name], _ = await core.authentication.bearer_for(who)
        again = await core.authentication.by_bearer(f"Bearer {bearers[name]}")
        passwords[name] = as_password(f"Bearer {await core.registry.password(again, project)}")
        await core.registry.grant(passwords[name], [])

    await admin.revoke_key(lost_id)

    with pytest.raises(Unauthorized, match="revoked"):
        await core.authentication.by_bearer(f"Bearer {bearers['lost']}")
    with pytest.raises(Unauthorized, match="revoked"):
        await core.registry.grant(passwords["lost"], [])
    assert (await core.authentication.by_bearer(f"Bearer {bearers['kept']}")).user == user
    await core.registry.grant(passwords["kept"], [])


async def test_secrets_are_stored_nowhere(core: Core) -> None:
    user = await core.world.user()
    _, secret = await administration(core).create_key("api_key", user.id, "")
    dump = str(await core.world.rows("SELECT * FROM credentials"))
    assert secret not in dump
    assert secret.removeprefix("ohk_") not in dump
