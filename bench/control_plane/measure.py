"""CPU, memory and sizes of the parts of a service on this machine."""

import asyncio
import os
from contextlib import suppress
from pathlib import Path

import asyncpg

from bench.control_plane.stack import PARTS, Stack

_TICKS = os.sysconf("SC_CLK_TCK")
_UTIME, _STIME, _CUTIME, _CSTIME = 11, 12, 13, 14
"""Places in /proc/PID/stat, counted after the program's name."""
_OWN = (_UTIME, _STIME)

_SIZES = """
SELECT CASE c.relkind WHEN 't' THEN coalesce(owner.relname || ' toast', c.relname) ELSE c.relname END::text AS name,
       (SELECT sum(pg_relation_size(c.oid, fork)) FROM unnest('{main,fsm,vm}'::text[]) AS fork)::bigint AS bytes
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_class owner ON owner.reltoastrelid = c.oid
WHERE c.relkind IN ('r', 'i', 't')
  AND (n.nspname = 'public' OR owner.relnamespace = 'public'::regnamespace)
"""


def tree(pid: int) -> list[int]:
    """A process and everything below it, at this moment."""
    found = [pid]
    for each in found:
        found += _children(each)
    return found


def _children(pid: int) -> list[int]:
    """What each of a process's threads has started and still runs; nothing when it has ended meanwhile."""
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                found += map(int, (task / "children").read_text().split())
    return found


def cpu_seconds(stack: Stack) -> dict[str, float]:
    """What each part has used since it began, with its children, those that have ended too."""
    return {
        part: sum(cpu_seconds_of(pid, (*_OWN, _CUTIME, _CSTIME)) for pid in tree(stack.pid(part)))
        for part in PARTS
    }


def cpu_seconds_of(pid: int, places: tuple[int, ...] = _OWN) -> float:
    """What a process has used itself; 0 when it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0.0
    fields = stat.rpartition(")")[2].split()
    return sum(int(fields[place]) for place in places) / _TICKS


def own_cpu_seconds() -> float:
    used = os.times()
    return used.user + used.system


class CpuMeter:
    """CPU seconds of each part and of the load, from here on."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._before, self._load_before = cpu_seconds(stack), own_cpu_seconds()

    def seconds(self) -> dict[str, float]:
        parts = {part: now - self._before[part] for part, now in cpu_seconds(self._stack).items()}
        return {
            name: round(seconds, 3)
            for name, seconds in {**parts, "load": own_cpu_seconds() - self._load_before}.items()
        }


class MemoryMeter:
    """Resident memory of one part's processes together, in MiB; the peak is the kernel's, from here on."""

    def __init__(self, stack: Stack, part: str) -> None:
        self._pids = tree(stack.pid(part))
        for pid in self._pids:
            Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak becomes what is used now
        self.before = self.now()

    def now(self) -> float:
        return self._sum("VmRSS")

    def peak(self) -> float:
        """Each process's own peak, added up: not less than the peak of their sum."""
        return self._sum("VmHWM")

    def _sum(self, name: str) -> float:
        return round(sum(_status_kib(pid, name) for pid in self._pids) / 1024, 1)


def _status_kib(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    return 0


def sizes(stack: Stack) -> dict[str, int]:
    """Bytes of every table, index and TOAST table with its maps."""

    async def ask() -> dict[str, int]:
        connection = await asyncpg.connect(stack.database_url)
        try:
            return {row["name"]: row["bytes"] for row in await connection.fetch(_SIZES)}
        finally:
            await connection.close()

    return asyncio.run(ask())


def growth_per_job(before: dict[str, int], after: dict[str, int], jobs: int) -> dict[str, float]:
    """Bytes for each job by relation, the largest first, with their sum as ``total``; what did not grow is left out."""
    grown = {name: (size - before.get(name, 0)) / jobs for name, size in after.items()}
    largest = sorted(grown.items(), key=lambda item: -item[1])
    return {
        "total": round(sum(grown.values()), 1),
        **{name: round(size, 1) for name, size in largest if size > 0},
    }
