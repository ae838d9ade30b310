"""The object store counts as ready with all its buckets, and not before."""

from pathlib import Path
from typing import Any, cast

from openhtc.embedded.s3 import BUCKET, REGION_BUCKETS, SENTINEL, S3Part


class Store:
    """Answers as a store that begins does: some requests fail at first."""

    def __init__(self, fails: dict[str, int]) -> None:
        self.fails = fails
        self.there: set[str] = set()

    async def send(self, method: str, path: str, body: bytes = b"") -> tuple[int, str]:
        if self.fails.get(path, 0) > 0:
            self.fails[path] -= 1
            return 500, "not yet"
        if method == "PUT":
            is_new = path not in self.there
            self.there.add(path)
            return (200, "") if is_new or "/" in path else (409, "BucketAlreadyOwnedByYou")
        return (200, "") if path in self.there else (404, "")


def part_of(store: Store) -> S3Part:
    part = S3Part.__new__(S3Part)
    part.directory = Path("/nowhere")
    part._requests = cast(Any, store)
    return part


async def test_a_bucket_that_could_not_be_made_is_made_later() -> None:
    store = Store({REGION_BUCKETS[each]: 2 for each in REGION_BUCKETS})
    part = part_of(store)
    for _ in range(2 * len(REGION_BUCKETS)):
        assert "making the bucket" in (await part.ready() or "")
    assert await part.ready() is None
    assert store.there == {BUCKET, *REGION_BUCKETS.values(), f"{BUCKET}/{SENTINEL}"}


async def test_what_is_there_is_left_and_what_lacks_is_made() -> None:
    store = Store({})
    store.there = {BUCKET, f"{BUCKET}/{SENTINEL}"}
    assert await part_of(store).ready() is None
    assert set(REGION_BUCKETS.values()) <= store.there
