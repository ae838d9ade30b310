"""The keys that sign bearer tokens, shared by all servers through the database.

Each is a pair: RSA for the tokens of users, registries and agents, as clients expect them, and P-256 for those of jobs,
which are made for every start: it signs thirty times as fast.

A new key is published at once and signs a minute later, when every server knows it: nobody is refused meanwhile.
"""

import asyncio
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from joserfc.jwk import ECKey, RSAKey

from openhtc.domain.errors import SettingsError
from openhtc.services.job_tokens import ALGORITHM, JobKey
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
    job_signing: JobKey
    jobs_by_kid: dict[str, ECKey]

    def public(self) -> list[dict[str, Any]]:
        """RFC 7517 public keys; those of jobs' tokens come last, for clients that look at the first only."""
        users = [_public(key, "RS256", ("n", "e")) for key in self.by_kid.values()]
        return users + [_public(key, ALGORITHM, ("crv", "x", "y")) for key in self.jobs_by_kid.values()]


def _public(key: RSAKey | ECKey, algorithm: str, numbers: tuple[str, ...]) -> dict[str, Any]:
    full = {**key.as_dict(private=False), "use": "sig", "alg": algorithm}
    return {name: full[name] for name in ("kty", "kid", "use", "alg", *numbers)}


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
        users = self._seal(rsa.generate_private_key(public_exponent=65537, key_size=2048))
        jobs = self._seal(ec.generate_private_key(ec.SECP256R1()))
        await identity.insert_signing_key(connection, kid, users, jobs)
        return str(kid)

    async def _read(self) -> Keys:
        async with self._database.connection() as connection:
            rows = await identity.list_signing_keys(connection)
        if not rows:
            raise SettingsError("the database has no signing key: run `openhtc admin migrate`")
        signing = next((row for row in rows if row.ready), rows[-1])
        users = {str(row.kid): self._open(row.private_pem) for row in rows}
        jobs = {_job_kid(row.kid): self._open(row.job_private_pem) for row in rows}
        job_private, job_kid = jobs[_job_kid(signing.kid)], _job_kid(signing.kid)
        assert isinstance(job_private, ec.EllipticCurvePrivateKey)
        by_kid = {kid: RSAKey.import_key(_clear(key), {"kid": kid}) for kid, key in users.items()}
        return Keys(
            signing=by_kid[str(signing.kid)],
            by_kid=by_kid,
            job_signing=JobKey(job_kid, job_private),
            jobs_by_kid={kid: ECKey.import_key(_clear(key), {"kid": kid}) for kid, key in jobs.items()},
        )

    def _seal(self, key: PrivateKeyTypes) -> str:
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(self._passphrase),
        )
        return pem.decode()

    def _open(self, pem: str) -> PrivateKeyTypes:
        try:
            return serialization.load_pem_private_key(pem.encode(), self._passphrase)
        except ValueError as error:
            raise SettingsError("secret_key does not open the signing keys in the database") from error


def _job_kid(kid: UUID) -> str:
    return f"{kid}-jobs"


def _clear(key: PrivateKeyTypes) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
