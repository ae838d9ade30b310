"""Control groups as several hierarchies, one or more controllers in each (version 1 and hybrid machines)."""

import contextlib
import os
from pathlib import Path

from openhtc.agent.sandbox.cgroups import CPU_PERIOD_US, Cgroup, CgroupTree, Counters, Limits, open_meters

CONTROLLERS = ("memory", "cpu", "cpuacct", "pids", "freezer")
_NEEDED = ("memory", "cpu", "cpuacct", "pids")


class CgroupV1(Cgroup):
    """``places``: the directory of this group in the hierarchy of each controller; two may share one."""

    def __init__(self, places: dict[str, Path]) -> None:
        self._memory, self._cpu = places["memory"], places["cpu"]
        self._cpuacct, self._pids_max = places["cpuacct"], places["pids"] / "pids.max"
        super().__init__(tuple(dict.fromkeys(places.values())))
        self._counts_swap = (self._memory / "memory.memsw.limit_in_bytes").exists()

    def meters(self) -> dict[str, int]:
        return open_meters(
            {
                "cpu": (self._cpuacct / "cpuacct.usage", os.O_RDONLY),
                "peak": (self._memory / "memory.max_usage_in_bytes", os.O_RDWR),
                "ooms": (self._memory / "memory.oom_control", os.O_RDONLY),
            }
        )

    def _write_limits(self, limits: Limits) -> None:
        (self._cpu / "cpu.cfs_period_us").write_text(str(CPU_PERIOD_US))
        (self._cpu / "cpu.cfs_quota_us").write_text(str(int(limits.vcpus * CPU_PERIOD_US)))
        self._pids_max.write_text(str(limits.pids))
        # Memory with swap may never be below memory alone: lift it first, lower it last.
        if self._counts_swap:
            self._write_memory("memory.memsw.limit_in_bytes", "-1")
        self._write_memory("memory.limit_in_bytes", str(limits.memory_mib << 20))
        if self._counts_swap:
            self._write_memory("memory.memsw.limit_in_bytes", str(limits.memory_mib << 20))

    def _write_memory(self, name: str, value: str) -> None:
        try:
            (self._memory / name).write_text(value)
        except OSError:
            # Page cache of earlier jobs is in the way (EBUSY): give it back and try once more.
            (self._memory / "memory.force_empty").write_text("0")
            (self._memory / name).write_text(value)

    def _reset_peak(self) -> None:
        (self._memory / "memory.max_usage_in_bytes").write_text("0")

    def _count(self) -> Counters:
        ooms = 0
        for line in (self._memory / "memory.oom_control").read_text().splitlines():
            if line.startswith("oom_kill "):
                ooms = int(line.split()[1])
        return Counters(ooms, int((self._cpuacct / "cpuacct.usage").read_text()) // 1_000_000)

    def _peak_bytes(self) -> int:
        return int((self._memory / "memory.max_usage_in_bytes").read_text())


class CgroupTreeV1(CgroupTree):
    def __init__(self, roots: dict[str, Path]) -> None:
        """``roots``: a writable directory of this agent in the hierarchy of each controller."""
        self._roots = roots
        self.missing = []
        if not (roots["memory"] / "memory.memsw.limit_in_bytes").exists():
            self.missing.append("memory limits do not include swap: no swap accounting in this kernel")

    def group(self, name: str) -> CgroupV1:
        return CgroupV1({controller: root / name for controller, root in self._roots.items()})

    def roots(self) -> tuple[Path, ...]:
        return tuple(dict.fromkeys(self._roots.values()))


def find(name: str) -> CgroupTreeV1 | None:
    """A tree of this name below the root of each hierarchy or, failing that, below our own group."""
    mounts, ours = _mounts(), _own_groups()
    roots: dict[str, Path] = {}
    for controller in CONTROLLERS:
        if controller not in mounts:
            continue
        place = _writable(mounts[controller], ours.get(controller, "/"), name)
        if place is not None:
            roots[controller] = place
    return CgroupTreeV1(roots) if all(controller in roots for controller in _NEEDED) else None


def _writable(mount: Path, own: str, name: str) -> Path | None:
    for parent in dict.fromkeys((mount, mount / own.lstrip("/"))):
        with contextlib.suppress(OSError):
            (parent / name).mkdir(exist_ok=True)
            if os.access(parent / name / "cgroup.procs", os.W_OK):
                return parent / name
    return None


def _mounts() -> dict[str, Path]:
    """The mount point of each controller."""
    found: dict[str, Path] = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        if kind == "cgroup":
            for option in options.split(","):
                found.setdefault(option, Path(before.split()[4]))
    return found


def _own_groups() -> dict[str, str]:
    found: dict[str, str] = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        found.update(dict.fromkeys(controllers.split(","), path))
    return found
