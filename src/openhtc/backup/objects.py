"""The objects' part of a backup: each in a file of its own, and a list that says what is where.

Nothing is ever removed from it: the database of an earlier moment speaks of objects that are gone since.
"""

import asyncio
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from openhtc.domain.errors import NotFound
from openhtc.embedded.private_files import private_directory
from openhtc.objects.copies import Found, WholeBucket

_AT_ONCE = 8


class StoredCopy(msgspec.Struct, frozen=True):
    """A line of the list."""

    key: str
    size: int
    tag: str
    file: str
    content_type: str
    metadata: dict[str, str]


class ObjectCopies:
    """Of one bucket, in one directory; used by one process at a time."""

    def __init__(self, directory: Path) -> None:
        self._directory = private_directory(directory)
        self._list = directory / "list.jsonl"
        _cut_after_last_line(self._list)
        self._known = {copy.key: copy for copy in self._read() if self._is_there(copy)}

    def __len__(self) -> int:
        return len(self._known)

    def _read(self) -> Iterator[StoredCopy]:
        """The last line of a key counts."""
        decoder = msgspec.json.Decoder(StoredCopy)
        with self._list.open("rb") as lines:
            yield from map(decoder.decode, lines)

    def _is_there(self, copy: StoredCopy) -> bool:
        try:
            return (self._directory / copy.file).stat().st_size == copy.size
        except FileNotFoundError:
            return False

    async def fetch(self, bucket: WholeBucket) -> int:
        """Copy what is new or has changed; how many objects that were."""
        fetched = 0
        async for page in bucket.pages():
            new = [found for found in page if self._is_new(found)]
            for begin in range(0, len(new), _AT_ONCE):
                copies = await asyncio.gather(
                    *(self._fetch(bucket, found) for found in new[begin : begin + _AT_ONCE])
                )
                fetched += self._note([copy for copy in copies if copy is not None])
        return fetched

    def _is_new(self, found: Found) -> bool:
        known = self._known.get(found.key)
        return known is None or (known.size, known.tag) != (found.size, found.tag)

    async def _fetch(self, bucket: WholeBucket, found: Found) -> StoredCopy | None:
        """None when the object is gone meanwhile. Each version has a file of its own, so the list is never wrong."""
        name = hashlib.sha256(f"{found.key}\n{found.tag}".encode()).hexdigest()
        file = private_directory(self._directory / name[:2]) / name
        unfinished = file.with_suffix(".new")
        try:
            got = await bucket.fetch(found.key, unfinished)
        except NotFound:
            return None
        unfinished.replace(file)
        size = file.stat().st_size
        return StoredCopy(
            found.key, size, got.tag, f"{name[:2]}/{name}", got.content_type, dict(got.metadata)
        )

    def _note(self, copies: list[StoredCopy]) -> int:
        with self._list.open("ab") as lines:
            lines.write(b"".join(msgspec.json.encode(copy) + b"\n" for copy in copies))
        self._known.update((copy.key, copy) for copy in copies)
        return len(copies)

    async def put_back(self, bucket: WholeBucket) -> int:
        """Write every object; how many there are."""
        copies = list(self._known.values())
        if copies:
            await bucket.ensure()
        for begin in range(0, len(copies), _AT_ONCE):
            some = copies[begin : begin + _AT_ONCE]
            await asyncio.gather(
                *(
                    bucket.put(copy.key, self._directory / copy.file, copy.content_type, copy.metadata)
                    for copy in some
                )
            )
        return len(copies)


def _cut_after_last_line(path: Path) -> None:
    """A crash or a full disk may have left half a line at the end."""
    with path.open("a+b") as file:
        end = size = file.seek(0, os.SEEK_END)
        while end > 0:
            begin = max(0, end - (1 << 16))
            file.seek(begin)
            found = file.read(end - begin).rfind(b"\n")
            if found >= 0:
                end = begin + found + 1
                break
            end = begin
        if end < size:
            file.truncate(end)
