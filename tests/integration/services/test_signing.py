"""The keys that sign bearer tokens: made, changed, retired."""

import pytest

from openhtc.domain.errors import OpenhtcError
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
    assert {key["kid"] for key in (await core.tokens.keys()).public()} == set(keys.by_kid)
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
