"""What a node offers, and the arithmetic of amounts."""

import os
import shutil
from pathlib import Path

from openhtc.domain.enums import Architecture
from openhtc.domain.errors import SettingsError
from openhtc.domain.work import Capacity
from openhtc.lifecycle.machine import machine_architecture
from openhtc.settings.agent import AgentSettings

NOTHING = Capacity(0, 0, 0)
DISK_RESERVE_GIB = 2
"""Kept free on the file system of data_dir: journal, logs of the system."""
DEFAULT_JOB_DISK_GIB = 10
"""What a job may write when its definition says nothing."""
LOW_DISK_BYTES = 1024**3
"""With less than this free a node takes no more jobs."""
_GIB = 1024**3
_SMT = Path("/sys/devices/system/cpu/smt/active")


def node_capacity(settings: AgentSettings) -> Capacity:
    """The amounts of the settings; what they leave open is measured on the machine."""
    vcpus = settings.vcpus or len(os.sched_getaffinity(0))
    return Capacity(
        vcpus=vcpus,
        memory_mib=settings.memory_mib or machine_memory_mib() * 8 // 10,
        disk_gib=settings.disk_gib or max(_spare_gib(settings), vcpus * DEFAULT_JOB_DISK_GIB),
    )


def has_hyperthreading() -> bool:
    """Whether the machine's vCPUs are threads that share cores."""
    try:
        return _SMT.read_text().strip() == "1"
    except OSError:
        return False


def disk_warning(settings: AgentSettings, capacity: Capacity) -> str | None:
    """A sentence for the operator when jobs may be promised more disk than there is.

    maxDiskGiB is a limit that few jobs come near, and every job that says nothing has 10 GiB of it: a node that
    counted them as taken would leave most of its vCPUs idle, or run no such job at all.
    """
    spare = _spare_gib(settings)
    if capacity.disk_gib <= spare:
        return None
    return f"disk: jobs may be promised {capacity.disk_gib} GiB together, {spare} GiB are spare"


def is_disk_low(settings: AgentSettings) -> bool:
    return shutil.disk_usage(settings.data_dir).free < LOW_DISK_BYTES


def _spare_gib(settings: AgentSettings) -> int:
    """Free beside the reserve and the images that may still come."""
    free = shutil.disk_usage(settings.data_dir).free // _GIB
    return int(max(0, free - DISK_RESERVE_GIB - settings.image_cache_gib))


def node_architecture(settings: AgentSettings) -> Architecture:
    """That of the settings, or this machine's. Raises SettingsError for one that the API does not have."""
    if settings.architecture is not None:
        return settings.architecture
    return machine_architecture()


def machine_type(settings: AgentSettings, capacity: Capacity) -> str:
    """That of the settings, or the same name for all nodes of the same size: ``local-x86-8``."""
    named = f"{settings.provider}-{node_architecture(settings).value.lower()}-{capacity.vcpus}"
    return settings.machine_type or named


def machine_memory_mib() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name == "MemTotal":
            return int(rest.split()[0]) // 1024
    raise SettingsError("/proc/meminfo has no MemTotal: set memory_mib")


def plus(a: Capacity, b: Capacity) -> Capacity:
    return Capacity(a.vcpus + b.vcpus, a.memory_mib + b.memory_mib, a.disk_gib + b.disk_gib)


def minus(a: Capacity, b: Capacity) -> Capacity:
    """a - b; negative amounts stay negative."""
    return Capacity(a.vcpus - b.vcpus, a.memory_mib - b.memory_mib, a.disk_gib - b.disk_gib)


def times(a: Capacity, factor: int) -> Capacity:
    return Capacity(a.vcpus * factor, a.memory_mib * factor, a.disk_gib * factor)


def at_least_nothing(a: Capacity) -> Capacity:
    return Capacity(max(0, a.vcpus), max(0, a.memory_mib), max(0, a.disk_gib))


def fits(needs: Capacity, room: Capacity) -> bool:
    return (
        needs.vcpus <= room.vcpus and needs.memory_mib <= room.memory_mib and needs.disk_gib <= room.disk_gib
    )
