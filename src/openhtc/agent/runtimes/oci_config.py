"""The config.json by which runc and crun make the same container that the other runtimes make."""

from pathlib import Path
from typing import Any

from openhtc.agent.runtimes.base import ContainerSpec
from openhtc.agent.sandbox import seccomp
from openhtc.agent.sandbox.ids import IdMap

REAPER = "/dev/.init"
_NO_CAPABILITIES: dict[str, list[str]] = {
    name: [] for name in ("bounding", "effective", "inheritable", "permitted", "ambient")
}
_MASKED = "acpi asound driver kcore keys kallsyms kmsg latency_stats timer_list sched_debug scsi vmallocinfo"
_READ_ONLY = "bus fs irq sys sysrq-trigger"
_SYSTEM = "/sys/devices/system"


def build(
    spec: ContainerSpec, ids: IdMap, *, reaper: Path | None, cgroup: str, hook: list[str]
) -> dict[str, Any]:
    """``cgroup``: where the runtime keeps its own, unused control group; ``hook``: run with its state as input."""
    shift = {"containerID": 0, "hostID": ids.base, "size": ids.count}
    return {
        "ociVersion": "1.0.2",
        "hostname": spec.name,
        "root": {"path": str(spec.rootfs), "readonly": False},
        "process": {
            "terminal": False,
            "user": {"uid": spec.uid, "gid": spec.gid, "additionalGids": list(spec.groups)},
            "args": [*([REAPER, "--"] if reaper else []), *spec.args],
            "env": [f"{name}={value}" for name, value in spec.env],
            "cwd": spec.cwd,
            "capabilities": _NO_CAPABILITIES,
            "noNewPrivileges": True,
        },
        "mounts": _mounts(spec, reaper),
        "hooks": {"createRuntime": [{"path": hook[0], "args": hook}]} if hook else {},
        "linux": {
            "namespaces": _namespaces(spec),
            "uidMappings": [shift],
            "gidMappings": [shift],
            "cgroupsPath": cgroup,
            "maskedPaths": [f"/proc/{name}" for name in _MASKED.split()],
            "readonlyPaths": [f"/proc/{name}" for name in _READ_ONLY.split()],
            "seccomp": seccomp.oci(),
        },
    }


def _namespaces(spec: ContainerSpec) -> list[dict[str, str]]:
    network = {"type": "network"}
    if spec.network is not None:
        network["path"] = str(spec.network)
    return [{"type": kind} for kind in ("pid", "mount", "ipc", "uts", "user")] + [network]


def _mounts(spec: ContainerSpec, reaper: Path | None) -> list[dict[str, Any]]:
    found = [
        _mount("/proc", "proc", "proc", "nosuid noexec nodev"),
        _mount("/dev", "tmpfs", "tmpfs", "nosuid strictatime mode=755 size=65536k ro"),
        _mount("/dev/pts", "devpts", "devpts", "nosuid noexec newinstance ptmxmode=0666 mode=0620"),
        _mount("/dev/shm", "tmpfs", "shm", f"nosuid noexec nodev mode=1777 size={spec.shm_bytes}"),  # noqa: S108
        _mount("/sys", "tmpfs", "tmpfs", "nosuid noexec nodev mode=755 size=64k ro"),
        _mount(_SYSTEM, "bind", _SYSTEM, "rbind ro nosuid noexec nodev"),
    ]
    if reaper is not None:
        found.append(_mount(REAPER, "bind", str(reaper), "bind ro nosuid nodev"))
    for item in spec.mounts:
        access = "ro" if item.read_only else "rw"
        found.append(_mount(item.target, "bind", str(item.source), f"rbind {access} nosuid nodev"))
    return found


def _mount(target: str, kind: str, source: str, options: str) -> dict[str, Any]:
    return {"destination": target, "type": kind, "source": source, "options": options.split()}
