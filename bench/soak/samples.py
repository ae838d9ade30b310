"""What is looked at every few seconds: one JSON object a line, so that a file that was cut short is still good."""

import os
import time
from itertools import pairwise
from pathlib import Path
from typing import TextIO

import asyncpg
import msgspec

from bench.control_plane.measure import cpu_seconds
from bench.soak.parts import memory_mib
from bench.soak.place import Place


class Sample(msgspec.Struct, frozen=True):
    seconds: float
    """Since the first job was submitted."""
    submitted: int
    ended: int
    memory_mib: dict[str, float]
    cpu_seconds: dict[str, float]
    database_bytes: int
    disk_bytes: int
    """The whole data directory: database with its log, objects, images."""
    log_slices: int
    """About: as the database estimates it."""


class Sampler:
    """Writes samples to a file and keeps them."""

    def __init__(self, place: Place, file: TextIO) -> None:
        self._place, self._file = place, file
        self.began = time.monotonic()
        self.samples: list[Sample] = []

    async def take(self) -> Sample:
        counts = self._place.summary()
        size, slices = await _database(self._place)
        sample = Sample(
            seconds=round(time.monotonic() - self.began, 2),
            submitted=counts.total,
            ended=counts.finished,
            memory_mib=memory_mib(self._place.stack),
            cpu_seconds={part: round(used, 2) for part, used in cpu_seconds(self._place.stack).items()},
            database_bytes=size,
            disk_bytes=disk_bytes(self._place.stack.data),
            log_slices=slices,
        )
        self.samples.append(sample)
        self._file.write(msgspec.json.encode(sample).decode() + "\n")
        self._file.flush()
        return sample


def disk_bytes(folder: Path) -> int:
    """What the files below a folder take on their disk; those that vanish meanwhile count nothing."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                total += Path(path, name).lstat().st_blocks * 512
            except OSError:
                continue
    return total


async def _database(place: Place) -> tuple[int, int]:
    connection = await asyncpg.connect(place.stack.database_url)
    try:
        row = await connection.fetchrow(
            "SELECT pg_database_size(current_database()) AS size,"
            " (SELECT greatest(n_live_tup, 0) FROM pg_stat_user_tables WHERE relname = 'log_chunks') AS slices"
        )
        assert row is not None
        return int(row["size"]), int(row["slices"])
    finally:
        await connection.close()


def rate_between(samples: list[Sample], total: int, begin: float, end: float) -> float:
    """Jobs/s from the time when this share of the jobs had ended to that time; 0 when it was not reached."""
    first, last = (_moment(samples, total * share) for share in (begin, end))
    if first is None or last is None or last <= first:
        return 0.0
    return total * (end - begin) / (last - first)


def _moment(samples: list[Sample], ended: float) -> float | None:
    """When so many jobs had ended, between two samples."""
    for before, after in pairwise(samples):
        if before.ended <= ended <= after.ended and after.ended > before.ended:
            part = (ended - before.ended) / (after.ended - before.ended)
            return before.seconds + part * (after.seconds - before.seconds)
    return None


def growth_mib(samples: list[Sample], total: int, part: str) -> float:
    """What a part's memory grew from a fifth of the jobs to the end, by a straight line through the samples."""
    points = [(each.ended, each.memory_mib[part]) for each in samples if each.ended >= total / 5]
    if len(points) < 3:
        return 0.0
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0
    return slope * (points[-1][0] - points[0][0])
