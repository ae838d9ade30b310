"""The bucket that holds files and logs, for the server: data, signed URLs and temporary keys."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import obstore
from obstore.store import S3Store

from openhtc.domain.errors import NotFound, OpenhtcError
from openhtc.objects.connection import connect
from openhtc.objects.errors import bad_key, translated
from openhtc.objects.grants import Grant
from openhtc.objects.removal import Removal
from openhtc.objects.temporary import TemporaryKeys, TokenService

HEALTH_KEY = "health/sentinel"
_HEALTH_DATA = b"openhtc\n"


@dataclass(frozen=True, slots=True)
class StoredObject:
    key: str
    size: int
    modified_at: datetime


class ObjectStore:
    """One bucket under the service's own keys. Methods raise Unavailable when the store does not answer.

    ``public_endpoint`` is where users and jobs reach the same store, if that is another address: signed
    URLs name it.
    """

    def __init__(
        self,
        *,
        endpoint: str,
        region: str,
        bucket: str,
        access_key: str,
        secret_key: str,
        sts_endpoint: str,
        sts_role_arn: str,
        public_endpoint: str | None = None,
    ) -> None:
        self.bucket = bucket
        self.region = region
        self.endpoint = public_endpoint or endpoint
        self._store: S3Store = connect(endpoint, region, bucket, access_key, secret_key)
        self._signer: S3Store = connect(self.endpoint, region, bucket, access_key, secret_key)
        self.removal = Removal(
            endpoint=endpoint, region=region, bucket=bucket, access_key=access_key, secret_key=secret_key
        )
        self._tokens = TokenService(
            endpoint=sts_endpoint,
            region=region,
            access_key=access_key,
            secret_key=secret_key,
            role_arn=sts_role_arn,
        )

    async def put(self, key: str, data: bytes) -> None:
        _check(key)
        with translated(f"writing {key}"):
            await obstore.put_async(self._store, key, data)

    async def get_range(self, key: str, offset: int, length: int) -> bytes:
        """``length`` bytes from ``offset``, fewer at the object's end. Raises NotFound."""
        _check(key)
        with translated(f"reading {key}"):
            return bytes(await obstore.get_range_async(self._store, key, start=offset, length=length))

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove objects, those that do not exist included."""
        if not keys:
            return
        for key in keys:
            _check(key)
        with translated(f"deleting {len(keys)} objects"):
            await obstore.delete_async(self._store, list(keys))

    async def list(self, prefix: str) -> AsyncIterator[Sequence[StoredObject]]:
        """The objects under a folder, in pages of at most 1,000; memory does not grow with their number."""
        with translated(f"listing {prefix}"):
            async for page in obstore.list(self._store, prefix=prefix, chunk_size=1000):
                yield [StoredObject(found["path"], found["size"], found["last_modified"]) for found in page]

    async def presign_put(self, key: str, expires_seconds: int) -> str:
        """A URL that lets its holder write this one object until it expires."""
        _check(key)
        with translated(f"signing {key}"):
            return await obstore.sign_async(self._signer, "PUT", key, timedelta(seconds=expires_seconds))

    async def temporary_keys(
        self, grants: Sequence[Grant], duration_seconds: int, session_name: str
    ) -> TemporaryKeys:
        """Keys for direct use of the store, valid 15 minutes to 12 hours; ``expires_at`` says how long."""
        return await self._tokens.temporary_keys(self.bucket, grants, duration_seconds, session_name)

    async def healthy(self) -> bool:
        """Whether an object that was written can be read: a store may answer long before it can do that."""
        try:
            return await self._read_sentinel() == _HEALTH_DATA
        except OpenhtcError:
            return False

    async def _read_sentinel(self) -> bytes:
        try:
            return await self.get_range(HEALTH_KEY, 0, len(_HEALTH_DATA))
        except NotFound:
            await self.put(HEALTH_KEY, _HEALTH_DATA)
            return await self.get_range(HEALTH_KEY, 0, len(_HEALTH_DATA))


def _check(key: str) -> None:
    parts = key.split("/")
    if any(part in ("", ".", "..") for part in parts) or not key.isprintable():
        raise bad_key(key)
