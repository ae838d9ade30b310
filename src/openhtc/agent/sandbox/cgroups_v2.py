"""Control groups as one tree (version 2).

A group with processes of its own cannot hand controllers down. So the agent moves itself into a leaf
beside its jobs; a service manager must have delegated the group it started in (systemd: Delegate=yes).
"""

import contextlib
import os
from pathlib import Path

from openhtc.agent.sandbox.cgroups import (
    CPU_PERIOD_US,
    Cgroup,
    CgroupTree,
    Counters,
    Limits,
    open_meters,
    pids_in,
)

_NEEDED = frozenset({"memory", "cpu", "pids"})
_MOUNT = Path("/sys/fs/cgroup")
_LEAF = "openhtc-agent"


class CgroupV2(Cgroup):
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._peak_known = 0
        super().__init__((directory,))

    def meters(self) -> dict[str, int]:
        peak = self._directory / "memory.peak"
        return open_meters(
            {
                "cpu": (self._directory / "cpu.stat", os.O_RDONLY),
                "peak": (peak, os.O_RDWR if os.access(peak, os.W_OK) else os.O_RDONLY),
                "ooms": (self._directory / "memory.events", os.O_RDONLY),
            }
        )

    def _write_limits(self, limits: Limits) -> None:
        self._write("cpu.max", f"{int(limits.vcpus * CPU_PERIOD_US)} {CPU_PERIOD_US}")
        self._write("pids.max", str(limits.pids))
        self._write("memory.max", str(limits.memory_mib << 20))
        if (self._directory / "memory.swap.max").exists():
            self._write("memory.swap.max", "0")

    def _reset_peak(self) -> None:
        # Writing resets it since Linux 6.12 (for this descriptor only); before, the peak of a slot can
        # only grow, so a job's peak is known only when it is above all before it.
        self._peak_known = self._read_number("memory.peak")

    def _count(self) -> Counters:
        return Counters(
            self._read_field("memory.events", "oom_kill"), self._read_field("cpu.stat", "usage_usec") // 1000
        )

    def _peak_bytes(self) -> int:
        peak = self._read_number("memory.peak")
        return peak if peak > self._peak_known else self._read_number("memory.current")

    def _kill(self, pids: set[int]) -> None:
        try:
            self._write("cgroup.kill", "1")
        except FileNotFoundError:  # before Linux 5.14
            super()._kill(pids)

    def _write(self, name: str, value: str) -> None:
        fd = os.open(self._directory / name, os.O_WRONLY)
        try:
            os.write(fd, value.encode())
        finally:
            os.close(fd)

    def _read_number(self, name: str) -> int:
        with contextlib.suppress(FileNotFoundError):
            return int((self._directory / name).read_text())
        return 0

    def _read_field(self, name: str, field: str) -> int:
        with contextlib.suppress(FileNotFoundError):
            for line in (self._directory / name).read_text().splitlines():
                key, _, value = line.partition(" ")
                if key == field:
                    return int(value)
        return 0


class CgroupTreeV2(CgroupTree):
    def __init__(self, root: Path) -> None:
        """``root``: a directory of this agent, with the controllers switched on for its children."""
        self._root = root
        self.missing = []
        if not (root / "memory.peak").exists():
            self.missing.append("the most memory a job used is not known: Linux 5.19 or newer is needed")

    def group(self, name: str) -> CgroupV2:
        return CgroupV2(self._root / name)

    def roots(self) -> tuple[Path, ...]:
        return (self._root,)


def find(name: str, mount: Path = _MOUNT, own: str | None = None) -> CgroupTreeV2 | None:
    """A tree of this name below our own group; None when a controller is missing or nothing is delegated."""
    if own is None:
        own = _own_group()
    if own is None or not (mount / "cgroup.controllers").exists():
        return None
    base = mount / own.strip("/")
    if base.name == _LEAF:
        base = base.parent
    root = base / name
    try:
        if not (base / "cgroup.controllers").read_text().split():
            return None
        if base != mount:
            _leave(base)
        _hand_down(base)
        root.mkdir(exist_ok=True)
        _hand_down(root)
    except OSError:
        return None
    return CgroupTreeV2(root) if _has_controllers(root) else None


def _leave(base: Path) -> None:
    """Move everything out of ``base`` itself into a leaf."""
    leaf = base / _LEAF
    leaf.mkdir(exist_ok=True)
    for pid in pids_in((base / "cgroup.procs",)):
        with contextlib.suppress(ProcessLookupError):
            (leaf / "cgroup.procs").write_text(str(pid))


def _hand_down(directory: Path) -> None:
    switched = set((directory / "cgroup.subtree_control").read_text().split())
    wanted = " ".join(f"+{name}" for name in sorted(_NEEDED - switched))
    if wanted:
        (directory / "cgroup.subtree_control").write_text(wanted)


def _has_controllers(directory: Path) -> bool:
    return _NEEDED.issubset((directory / "cgroup.controllers").read_text().split())


def _own_group() -> str | None:
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        if line.startswith("0::"):
            return line[3:]
    return None
