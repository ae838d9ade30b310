"""Control groups: one for each slot, kept between jobs, with the two kernel interfaces behind one class.

All groups of an agent lie below one directory named after its data directory, so that an agent which is
started again finds, kills and removes what a killed predecessor left.
"""

import contextlib
import hashlib
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)

_KILL_SECONDS = 30.0
CPU_PERIOD_US = 100_000


@dataclass(frozen=True, slots=True)
class Limits:
    vcpus: float
    memory_mib: int
    pids: int


@dataclass(frozen=True, slots=True)
class Counters:
    """What the kernel counts without end: the difference of two such readings belongs to one job."""

    oom_kills: int
    cpu_ms: int


class Cgroup(ABC):
    """The control group of one slot. Not thread-safe, but kill_all() may be called from anywhere."""

    def __init__(self, directories: tuple[Path, ...]) -> None:
        self._directories = directories
        self._procs = tuple(directory / "cgroup.procs" for directory in directories)
        self._limits: Limits | None = None
        for directory in directories:
            directory.mkdir(exist_ok=True)
        self._before = self._count()

    def procs_files(self) -> tuple[Path, ...]:
        return self._procs

    def limit(self, vcpus: float, memory_mib: int, pids: int) -> None:
        """Set the limits of the next job and start its counters at zero. Memory includes swap."""
        limits = Limits(vcpus, memory_mib, pids)
        if limits != self._limits:
            self._limits = None
            self._write_limits(limits)
            self._limits = limits
        self._reset_peak()
        self._before = self._count()

    def oom_kills(self) -> int:
        """Processes of this job that the kernel killed for want of memory."""
        return self._count().oom_kills - self._before.oom_kills

    def usage(self) -> tuple[int, int]:
        """(CPU time in ms, most memory in MiB) of this job."""
        return self._count().cpu_ms - self._before.cpu_ms, -(-self._peak_bytes() // (1 << 20))

    def kill_all(self, timeout: float = _KILL_SECONDS) -> bool:
        """SIGKILL everything in the group and wait until it is empty; False when that takes too long."""
        deadline = time.monotonic() + timeout
        while pids := self._pids():
            self._kill(pids)
            if time.monotonic() > deadline:
                log.error("cgroup_not_empty", path=str(self._directories[0]), pids=sorted(pids)[:20])
                return False
            time.sleep(0.001)
        return True

    def close(self) -> None:
        """Kill what is left and remove the group."""
        self.kill_all()
        for directory in self._directories:
            remove(directory)

    def _pids(self) -> set[int]:
        return pids_in(self._procs)

    def _kill(self, pids: set[int]) -> None:
        kill(pids)

    @abstractmethod
    def meters(self) -> dict[str, int]:
        """Descriptors, the caller's to close, of the files that count CPU time ("cpu"), the peak of memory ("peak", to
        be set back by a write where the kernel can do that) and OOM kills ("ooms"); one that there is not is left out.
        """

    @abstractmethod
    def _write_limits(self, limits: Limits) -> None: ...

    @abstractmethod
    def _reset_peak(self) -> None: ...

    @abstractmethod
    def _count(self) -> Counters: ...

    @abstractmethod
    def _peak_bytes(self) -> int: ...


class CgroupTree(ABC):
    """Where an agent's groups lie."""

    missing: list[str]

    @abstractmethod
    def group(self, name: str) -> Cgroup: ...

    @abstractmethod
    def roots(self) -> tuple[Path, ...]:
        """The directories of this agent, one for each hierarchy."""

    def sweep(self) -> int:
        """Kill and remove the groups that a predecessor left; how many there were. Keeps the roots."""
        found = {child.name for root in self.roots() for child in _children(root)}
        for root in self.roots():
            for child in _children(root):
                clear(child)
        return len(found)

    def close(self) -> None:
        self.sweep()
        for root in self.roots():
            remove(root)


def scope(data_dir: Path) -> str:
    """The name of an agent's subtree, e.g. ``openhtc-3f9a0c2b41``."""
    return "openhtc-" + hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:10]


def kill(pids: Iterable[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, 9)
        except ProcessLookupError:
            continue


def pids_in(files: Iterable[Path]) -> set[int]:
    found: set[int] = set()
    for file in files:
        try:
            found.update(int(word) for word in file.read_text().split())
        except FileNotFoundError:
            continue
    return found - {0}  # 0 is a process of another pid namespace: not ours to name


def open_meters(files: dict[str, tuple[Path, int]]) -> dict[str, int]:
    """Descriptors of those files that can be opened with their flags."""
    opened: dict[str, int] = {}
    for name, (path, flags) in files.items():
        with contextlib.suppress(OSError):
            opened[name] = os.open(path, flags)
    return opened


def remove(directory: Path, timeout: float = 5.0) -> None:
    """rmdir; the kernel says EBUSY for a moment after the last process has gone."""
    deadline = time.monotonic() + timeout
    while directory.exists():
        try:
            directory.rmdir()
        except FileNotFoundError:
            return
        except OSError as error:
            if time.monotonic() > deadline:
                log.warning("cgroup_not_removed", path=str(directory), error=str(error))
                return
            time.sleep(0.002)


def _children(directory: Path) -> list[Path]:
    if not directory.is_dir():
        return []
    return [entry for entry in directory.iterdir() if entry.is_dir()]


def clear(directory: Path) -> None:
    """Kill everything in a group and in those below it, and remove them."""
    for child in _children(directory):
        clear(child)
    deadline = time.monotonic() + _KILL_SECONDS
    while (pids := pids_in((directory / "cgroup.procs",))) and time.monotonic() < deadline:
        kill(pids)
        time.sleep(0.002)
    remove(directory)
