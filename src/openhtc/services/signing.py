"""The keys that sign bearer tokens, shared by all servers through the database.

A new key is published at once and signs a minute later, when every server knows it: nobody is refused meanwhile.
"""

import asyncio
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc.jwk import RSAKey

from openhtc.domain.errors import SettingsError
from openhtc.storage import audit, identity
from openhtc.storage.database import Connection, Database

_REREAD_SECONDS = 30.0
_UNKNOWN_KEY_SECONDS = 1.0
"""Tokens with made-up key ids must not make every request read the keys."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The newest key that all servers know signs, all of them verify."""

    signing: RSAKey
    by_kid: dict[str, RSAKey]

    def public(self) -> list[dict[str, Any]]:
        """RFC 7517 public keys."""
        members = ("kty", "kid", "use", "alg", "n", "e")
        full = [{**key.as_dict(private=False), "use": "sig", "alg": "RS256"} for key in self.by_kid.values()]
        return [{name: key[name] for name in members} for key in full]


class SigningKeys:
    """Reads the keys now and then, so that a rotation reaches every server within half a minute."""

    def __init__(self, database: Database, secret_key: str) -> None:
        self._database = database
        self._passphrase = secret_key.encode()
        self._keys: Keys | None = None
        self._read_at = 0.0
        self._lock = asyncio.Lock()

    async def current(self) -> Keys:
        return await self._not_older_than(_REREAD_SECONDS)

    async def fresh(self) -> Keys:
        """Read anew, unless that was done just now: for a key id that is not known."""
        return await self._not_older_than(_UNKNOWN_KEY_SECONDS)

    async def _not_older_than(self, seconds: float) -> Keys:
        if self._keys is None or time.monotonic() - self._read_at > seconds:
            async with self._lock:
                if self._keys is None or time.monotonic() - self._read_at > seconds:
                    self._keys = await self._read()
                    self._read_at = time.monotonic()
        return self._keys

    async def rotate(self, actor: str, now: datetime) -> str:
        """Make a new signing key; the former ones go on verifying what they signed. Returns its kid."""
        async with self._database.transaction() as connection:
            await identity.lock_signing_keys(connection)
            await identity.retire_signing_keys(connection)
            kid = await self._create(connection)
            await audit.record(connection, now, actor, "signing_key.rotated", f"signing_key:{kid}", {})
        self._read_at = 0.0
        return kid

    async def ensure(self) -> None:
        """Make the first key where there is none; safe when several servers start at once."""
        async with self._database.transaction() as connection:
            await identity.lock_signing_keys(connection)
            if not await identity.list_signing_keys(connection):
                await self._create(connection)

    async def _create(self, connection: Connection) -> str:
        kid = uuid4()
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(self._passphrase),
        )
        await identity.insert_signing_key(connection, kid, pem.decode())
        return str(kid)

    async def _read(self) -> Keys:
        async with self._database.connection() as connection:
            rows = await identity.list_signing_keys(connection)
        if not rows:
            raise SettingsError("the database has no signing key: run `openhtc admin migrate`")
        keys = {str(row.kid): self._open(str(row.kid), row.private_pem) for row in rows}
        signing = next((row for row in rows if row.ready), rows[-1])
        return Keys(signing=keys[str(signing.kid)], by_kid=keys)

    def _open(self, kid: str, pem: str) -> RSAKey:
        try:
            key = serialization.load_pem_private_key(pem.encode(), self._passphrase)
        except ValueError as error:
            raise SettingsError("secret_key does not open the signing keys in the database") from error
        clear = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return RSAKey.import_key(clear, {"kid": kid})
