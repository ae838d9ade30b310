"""Gigabytes of output from one job: its pace, what it costs each part, how fast pages are; nothing is missing."""

import argparse
import asyncio
import time

import asyncpg
import msgspec

from bench.control_plane.measure import sizes
from bench.soak.parts import Watch, wait_until
from bench.soak.place import Place, batch
from bench.soak.workload import line_of
from openhtc.bench.figures import Figures, Say, milliseconds
from openhtc.domain.enums import JobStatus, SortOrder

HELP = "one job with a very long log"
LINE_BYTES = 100
PAGE = 100
READS = 20
_SECONDS = 1800
_PAUSE = 0.5
_FOLLOWING = """
SELECT max(CASE WHEN gaps = 0 THEN lines ELSE -1 END) FROM (
    SELECT sum(lines) AS lines, count(*) FILTER (WHERE first_line <> before) AS gaps FROM (
        SELECT *, sum(lines) OVER (PARTITION BY batch_no, idx ORDER BY first_line) - lines AS before FROM log_chunks
    ) AS each GROUP BY batch_no, idx
) AS logs
"""


class LogIncomplete(Exception):
    """Lines are missing, or others than were printed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--gigabytes", type=float, default=5.0, help="of lines of 100 bytes; default %(default)s"
    )
    parser.add_argument(
        "--check", type=float, default=0.1, help="gigabytes to read back from either end; default %(default)s"
    )


def run(place: Place, options: argparse.Namespace, say: Say) -> Figures:
    """Raises LogIncomplete."""
    count = int(options.gigabytes * 1e9) // LINE_BYTES
    _warm(place)
    stored = sum(sizes(place.stack).values())
    watch = Watch(place.stack)
    (parent,) = place.submit([batch("print", str(count))])
    job_id, began = f"{parent}:0", time.monotonic()
    wait_until(lambda: bool(_page(place, job_id, SortOrder.ASC)[1]), 60)
    running = _read_until_ended(place, job_id)
    seconds = time.monotonic() - began
    cpu = watch.stop()
    say(f"{count * LINE_BYTES / seconds / 1e6:.0f} MB/s; reading it back")
    return {
        "lines": count,
        "seconds": round(seconds, 1),
        "mb_per_second": round(count * LINE_BYTES / seconds / 1e6, 1),
        "cpu_seconds_per_gb": {part: round(used / options.gigabytes, 2) for part, used in cpu.items()},
        "memory_before_mib": watch.before,
        "memory_peak_mib": watch.peak,
        "database_bytes": sum(sizes(place.stack).values()) - stored,
        "pages_while_it_runs": running,
        "pages_afterwards": _read_pages(place, job_id),
        "read_back_mb_per_second": _check(place, job_id, count, int(options.check * 1e9) // LINE_BYTES),
    }


def _warm(place: Place) -> None:
    """The image is in the node's cache afterwards."""
    place.submit([batch("print", "1")])
    wait_until(lambda: place.ended() == 1, 60)


def _read_until_ended(place: Place, job_id: str) -> Figures:
    """Times of the first and the last page, read every half second while the log grows."""
    times = PageTimes()
    until = time.monotonic() + _SECONDS
    while place.ended() < 2:
        if time.monotonic() > until:
            raise LogIncomplete(f"the job has not ended within {_SECONDS} s")
        times.read(place, job_id)
        time.sleep(_PAUSE)
    status = place.job(job_id).status
    if status is not JobStatus.SUCCEEDED:
        raise LogIncomplete(f"the job ended as {status}")
    return times.figures()


def _read_pages(place: Place, job_id: str) -> Figures:
    times = PageTimes()
    for _ in range(READS):
        times.read(place, job_id)
    return times.figures()


class PageTimes:
    """How long the first and the last page of 100 lines take."""

    def __init__(self) -> None:
        self._seconds: dict[SortOrder, list[float]] = {SortOrder.ASC: [], SortOrder.DESC: []}

    def read(self, place: Place, job_id: str) -> None:
        for order, taken in self._seconds.items():
            taken.append(_page(place, job_id, order)[0])

    def figures(self) -> Figures:
        return {
            name: milliseconds(self._seconds[order])
            for name, order in (("first", SortOrder.ASC), ("last", SortOrder.DESC))
        }


def _page(place: Place, job_id: str, order: SortOrder) -> tuple[float, list[str]]:
    """One page: the seconds that it took, and its lines."""
    began = time.monotonic()
    lines = place.client.logs(place.project_id, place.task_id, job_id, sort=order, page_size=PAGE)
    found = [line.message for _, line in zip(range(PAGE), lines, strict=False)]
    return time.monotonic() - began, found


def _check(place: Place, job_id: str, count: int, most: int) -> float:
    """Read lines back from both ends, at most ``most`` from each; MB/s."""
    began = time.monotonic()
    if (known := asyncio.run(_known_lines(place))) != count:
        raise LogIncomplete(f"{known} lines of {count}")
    read = _compare(place, job_id, SortOrder.ASC, range(min(count, most)))
    read += _compare(place, job_id, SortOrder.DESC, range(count - 1, max(-1, count - 1 - most), -1))
    return round(read * LINE_BYTES / (time.monotonic() - began) / 1e6, 1)


def _compare(place: Place, job_id: str, order: SortOrder, numbers: range) -> int:
    lines = place.client.logs(place.project_id, place.task_id, job_id, sort=order, page_size=10_000)
    last = ""
    for number, line in zip(numbers, lines, strict=False):
        later = line.timestamp > last if order is SortOrder.ASC else line.timestamp < last
        if line.message != line_of(0, 1, number) or (last and not later):
            raise LogIncomplete(f"line {number} is {msgspec.json.encode(line)!r}")
        last = line.timestamp
    return len(numbers)


async def _known_lines(place: Place) -> int:
    """How many lines follow one another without a gap in the longest log."""
    connection = await asyncpg.connect(place.stack.database_url)
    try:
        return int(await connection.fetchval(_FOLLOWING))
    finally:
        await connection.close()
