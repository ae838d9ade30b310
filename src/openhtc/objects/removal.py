"""Removes objects whose keys others chose."""

import asyncio
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from openhtc.objects.connection import blocking_client
from openhtc.objects.errors import translated

_PAGE = 1000
"""What S3 lists and deletes in one request."""


class Removal:
    """One bucket. Takes every key that S3 takes, with line breaks, empty parts or a slash at the end: the client that
    reads and writes our own objects refuses to list a folder with one of those. Works in threads, since its library
    blocks; Unavailable when the store does not answer.
    """

    def __init__(self, *, endpoint: str, region: str, bucket: str, access_key: str, secret_key: str) -> None:
        self._bucket = bucket
        self._endpoint = endpoint
        self._region = region
        self._access_key = access_key
        self._secret_key = secret_key

    async def remove(self, keys: Sequence[str]) -> None:
        """Those that do not exist included."""
        with translated(f"removing {len(keys)} objects"):
            for first in range(0, len(keys), _PAGE):
                await asyncio.to_thread(self._remove, keys[first : first + _PAGE])

    async def remove_below(self, prefix: str) -> int:
        """Remove up to 1,000 of the objects whose keys begin so; how many, 0 when none is left."""
        with translated(f"removing what lies below {prefix}"):
            return await asyncio.to_thread(self._remove_below, prefix)

    def _remove_below(self, prefix: str) -> int:
        found = self._client.list_objects_v2(Bucket=self._bucket, Prefix=prefix, MaxKeys=_PAGE)
        keys = [each["Key"] for each in found.get("Contents", ())]
        if keys:
            self._remove(keys)
        return len(keys)

    def _remove(self, keys: Sequence[str]) -> None:
        alone = [key for key in keys if not key.isprintable()]
        if plain := [{"Key": key} for key in keys if key.isprintable()]:
            answer = self._client.delete_objects(
                Bucket=self._bucket, Delete={"Objects": plain, "Quiet": True}
            )
            alone += [refused["Key"] for refused in answer.get("Errors", ())]
        for key in alone:  # control characters cannot stand in the body of a request for many
            self._client.delete_object(Bucket=self._bucket, Key=key)

    @cached_property
    def _client(self) -> Any:
        """Made when it is first needed: most servers never remove anything."""
        return blocking_client(self._endpoint, self._region, self._access_key, self._secret_key)
