"""The objects' part of a backup: each in a file of its own, and a list that says what is where.

Nothing is ever removed from it: the database of an earlier moment speaks of objects that are gone since.
"""

import asyncio
import hashlib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import obstore
from obstore.store import S3Store

from openhtc.domain.errors import NotFound
from openhtc.embedded.private_files import private_directory
from openhtc.objects.errors import translated

_AT_ONCE = 8


class StoredCopy(msgspec.Struct, frozen=True):
    """A line of the list."""

    key: str
    size: int
    tag: str
    file: str


class ObjectCopies:
    """Of one bucket, in one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = private_directory(directory)
        self._list = directory / "list.jsonl"
        self._known = {copy.key: copy for copy in self._read()}

    def __len__(self) -> int:
        return len(self._known)

    def _read(self) -> Iterator[StoredCopy]:
        """The last line of a key counts; a line that a crash has cut counts for nothing."""
        if not self._list.exists():
            return
        decoder = msgspec.json.Decoder(StoredCopy)
        with self._list.open("rb") as lines:
            for line in lines:
                if line.endswith(b"\n"):
                    yield decoder.decode(line)

    async def fetch(self, store: S3Store) -> int:
        """Copy what is new or has changed; how many objects that were."""
        fetched = 0
        async for page in obstore.list(store, chunk_size=1000):
            new = [
                found for found in page if self._is_new(found["path"], found["size"], found["e_tag"] or "")
            ]
            for begin in range(0, len(new), _AT_ONCE):
                some = new[begin : begin + _AT_ONCE]
                copies = await asyncio.gather(
                    *(self._fetch(store, found["path"], found["e_tag"] or "") for found in some)
                )
                fetched += self._note([copy for copy in copies if copy is not None])
        return fetched

    def _is_new(self, key: str, size: int, tag: str) -> bool:
        known = self._known.get(key)
        return known is None or (known.size, known.tag) != (size, tag)

    async def _fetch(self, store: S3Store, key: str, tag: str) -> StoredCopy | None:
        """None when the object is gone meanwhile. A changed one gets another file, so the list is never wrong."""
        name = hashlib.sha256(f"{key}\n{tag}".encode()).hexdigest()
        file = private_directory(self._directory / name[:2]) / name
        unfinished = file.with_suffix(".new")
        size = 0
        try:
            with translated(f"reading {key}"):
                found = await obstore.get_async(store, key)
                with unfinished.open("wb") as target:
                    async for piece in found.stream():
                        size += target.write(piece)
        except NotFound:
            return None
        unfinished.replace(file)
        return StoredCopy(key, size, tag, f"{name[:2]}/{name}")

    def _note(self, copies: list[StoredCopy]) -> int:
        with self._list.open("ab") as lines:
            lines.write(b"".join(msgspec.json.encode(copy) + b"\n" for copy in copies))
        self._known.update((copy.key, copy) for copy in copies)
        return len(copies)

    async def put_back(self, store: S3Store) -> int:
        """Write every object; how many there are."""
        copies = list(self._known.values())
        for begin in range(0, len(copies), _AT_ONCE):
            some = copies[begin : begin + _AT_ONCE]
            await asyncio.gather(*(self._put(store, copy) for copy in some))
        return len(copies)

    async def _put(self, store: S3Store, copy: StoredCopy) -> None:
        with translated(f"writing {copy.key}"):
            await obstore.put_async(store, copy.key, self._directory / copy.file)
