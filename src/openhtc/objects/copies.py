"""Copying a whole bucket, whatever its objects are called."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import obstore
from botocore.exceptions import ClientError

from openhtc.domain.errors import NotFound
from openhtc.objects.connection import blocking_client, connect, ensure_bucket
from openhtc.objects.errors import translated

_ONE_REQUEST = 1 << 30
"""Larger objects are written in parts, by the client that can do that and takes no odd keys."""
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Found:
    key: str
    size: int
    tag: str


@dataclass(frozen=True, slots=True)
class Fetched:
    tag: str
    content_type: str
    metadata: Mapping[str, str]


class WholeBucket:
    """Works in threads, since its library blocks. Raises Unavailable when the store does not answer."""

    def __init__(self, *, endpoint: str, region: str, bucket: str, access_key: str, secret_key: str) -> None:
        self._where = (endpoint, region, access_key, secret_key)
        self._bucket = bucket

    async def pages(self) -> AsyncIterator[Sequence[Found]]:
        """All objects, at most 1,000 at a time."""
        more: dict[str, str] = {}
        while True:
            with translated(f"listing {self._bucket}"):
                answer = await asyncio.to_thread(self._list, more)
            yield [Found(each["Key"], each["Size"], each["ETag"]) for each in answer.get("Contents", ())]
            if not answer.get("IsTruncated"):
                return
            more = {"ContinuationToken": answer["NextContinuationToken"]}

    def _list(self, more: Mapping[str, str]) -> dict[str, Any]:
        """A page; an empty one of a bucket that nobody has made yet."""
        try:
            answer: dict[str, Any] = self._client.list_objects_v2(Bucket=self._bucket, MaxKeys=1000, **more)
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchBucket":
                return {}
            raise
        return answer

    async def ensure(self) -> None:
        """Make the bucket unless it is there."""
        endpoint, region, access_key, secret_key = self._where
        await ensure_bucket(
            endpoint=endpoint,
            region=region,
            bucket=self._bucket,
            access_key=access_key,
            secret_key=secret_key,
        )

    async def fetch(self, key: str, file: Path) -> Fetched:
        """Write the object to the file. Raises NotFound."""
        with translated(f"reading {key!r}"):
            return await asyncio.to_thread(self._fetch, key, file)

    def _fetch(self, key: str, file: Path) -> Fetched:
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=key)
        except ClientError as error:
            if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
                raise NotFound(f"there is no object {key!r}") from error
            raise
        with file.open("wb") as target:
            for piece in answer["Body"].iter_chunks(_PIECE):
                target.write(piece)
        return Fetched(answer["ETag"], answer.get("ContentType", ""), answer.get("Metadata", {}))

    async def put(self, key: str, file: Path, content_type: str, metadata: Mapping[str, str]) -> None:
        with translated(f"writing {key!r}"):
            if _size(file) > _ONE_REQUEST:
                endpoint, region, access_key, secret_key = self._where
                store = connect(endpoint, region, self._bucket, access_key, secret_key)
                attributes: Any = {"Content-Type": content_type, **metadata}
                await obstore.put_async(store, key, file, attributes=attributes)
            else:
                await asyncio.to_thread(self._put, key, file, content_type, metadata)

    def _put(self, key: str, file: Path, content_type: str, metadata: Mapping[str, str]) -> None:
        with file.open("rb") as body:
            self._client.put_object(
                Bucket=self._bucket, Key=key, Body=body, ContentType=content_type, Metadata=dict(metadata)
            )

    @cached_property
    def _client(self) -> Any:
        return blocking_client(*self._where)


def _size(file: Path) -> int:
    return file.stat().st_size
