"""The keys that sign bearer tokens: made, changed, retired."""

import json
from datetime import timedelta
from uuid import uuid4

import msgspec
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey

from openhtc.domain.errors import OpenhtcError, Unauthorized
from openhtc.domain.identity import JobScope
from openhtc.services import signing
from openhtc.services.signing import SigningKeys
from openhtc.services.tokens import TokenUse

from ..world import SECRET_KEY
from .conftest import Core

EVERY_USE = tuple(TokenUse)


async def test_a_new_signing_key_reaches_another_server_at_once(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token signed with a key that this server has not read yet is not refused."""
    monkeypatch.setattr(signing, "_UNKNOWN_KEY_SECONDS", 0.0)
    user = await core.world.user()
    now = core.world.clock.now
    old = core.tokens.user_token(await core.tokens.keys(), user, now)
    kid = await SigningKeys(core.world.database, SECRET_KEY).rotate("operator:test", now)
    await an_hour_passes(core)
    keys = await SigningKeys(core.world.database, SECRET_KEY).current()
    assert keys.signing.kid == kid
    new = core.tokens.user_token(keys, user, now)
    for token in (old, new):
        assert (await core.tokens.read(token, EVERY_USE, now))["sub"] == user.id
    assert {key["kid"] for key in (await core.tokens.keys()).public()} == {*keys.by_kid, *keys.jobs_by_kid}
    assert all("d" not in key for key in keys.public())


async def an_hour_passes(core: Core) -> None:
    """For the signing keys, which go by the database's clock."""
    await core.world.rows("UPDATE signing_keys SET created_at = created_at - interval '1 hour'")


async def test_a_new_signing_key_is_known_before_it_signs(core: Core) -> None:
    """A server that read the keys just before a rotation is never shown a key that it does not know."""
    now = core.world.clock.now
    before = (await core.tokens.keys()).signing.kid
    kid = await SigningKeys(core.world.database, SECRET_KEY).rotate("operator:test", now)
    keys = await SigningKeys(core.world.database, SECRET_KEY).current()
    assert (keys.signing.kid, set(keys.by_kid)) == (before, {before, kid})
    await an_hour_passes(core)
    keys = await SigningKeys(core.world.database, SECRET_KEY).current()
    assert (keys.signing.kid, set(keys.by_kid)) == (kid, {before, kid})


async def test_a_retired_signing_key_outlives_the_longest_token(core: Core) -> None:
    before = (await core.tokens.keys()).signing.kid
    kid = await SigningKeys(core.world.database, SECRET_KEY).rotate("operator:test", core.world.clock.now)
    for days, known in ((14, {before, kid}), (16, {kid})):
        await core.world.rows(
            "UPDATE signing_keys SET retired_at = now() - make_interval(days => $1) "
            "WHERE retired_at IS NOT NULL",
            days,
        )
        assert set((await SigningKeys(core.world.database, SECRET_KEY).current()).by_kid) == known


async def test_signing_keys_do_not_open_with_another_secret(core: Core) -> None:
    with pytest.raises(OpenhtcError, match="secret_key"):
        await SigningKeys(core.world.database, "another secret").current()


async def test_a_jobs_token_verifies_with_the_published_key(core: Core) -> None:
    """By another library's reading of the JWK set, as a program in a job would."""
    user = await core.world.user()
    keys = await core.tokens.keys()
    scope = JobScope(uuid4(), uuid4(), uuid4(), 7, (("shift", 'n"ight é'),))
    token = core.tokens.job_token(keys, user, scope, core.world.clock.now, timedelta(hours=1))
    (public,) = [key for key in keys.public() if key["kty"] == "EC"]
    assert (
        jwt.decode(token, ECKey.import_key(public), ["ES256"]).claims["jobId"] == f"{scope.parent_job_id}:7"
    )
    claims = await core.tokens.read(token, EVERY_USE, core.world.clock.now)
    assert claims["userDefined_shift"] == 'n"ight é'
    assert [key["kty"] for key in keys.public()] == ["RSA", "EC"]
    assert not {"d", "p", "q"} & {name for key in keys.public() for name in key}
    other = core.tokens.job_token(keys, user, scope, core.world.clock.now, timedelta(hours=1))
    assert (await core.tokens.read(other, EVERY_USE, core.world.clock.now))["jti"] != claims["jti"]


async def test_the_key_of_jobs_signs_nothing_else(core: Core) -> None:
    """Nor does a token choose how its key is used: the public half is no secret for HS256."""
    user = await core.world.user()
    now = core.world.clock.now
    keys = await core.tokens.keys()
    user_claims = await core.tokens.read(core.tokens.user_token(keys, user, now), EVERY_USE, now)
    raised = keys.job_signing.sign(msgspec.json.encode(user_claims))
    scope = JobScope(uuid4(), uuid4(), uuid4(), 0)
    job_token = core.tokens.job_token(keys, user, scope, now, timedelta(hours=1))
    job_claims = await core.tokens.read(job_token, EVERY_USE, now)
    kid = keys.job_signing.kid
    other_key = jwt.encode({"alg": "RS256", "kid": keys.signing.kid}, job_claims, keys.signing, ["RS256"])
    renamed = jwt.encode({"alg": "RS256", "kid": kid}, user_claims, keys.signing, ["RS256"])
    public = json.dumps(keys.public()[1])
    symmetric = jwt.encode({"alg": "HS256", "kid": kid}, job_claims, OctKey.import_key(public), ["HS256"])
    head, body, seal = job_token.split(".")
    changed = f"{head}.{body}.{'B' if seal[0] == 'A' else 'A'}{seal[1:]}"
    for token in (raised, other_key, renamed, symmetric, changed, f"{head}.{body}."):
        with pytest.raises(Unauthorized):
            await core.tokens.read(token, EVERY_USE, now)
