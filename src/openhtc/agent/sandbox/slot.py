"""Everything one job needs around its container, made once for each slot and used again and again.

The order of calls for one job, all from the slot's worker thread:

    slot.prepare(image, needs, identity, workdir)
    container = runtime.start(slot.spec(name=..., args=..., env=..., cwd=..., identity=...), output_fd)
    exit = container.wait(timeout)    # again and again; unless sandbox.disk_enforced, with slot.disk_full() between
    used = slot.collect()                   # before reset
    slot.reset()
"""

import errno
from dataclasses import dataclass
from pathlib import Path

import structlog

from openhtc.agent.images.config import Identity
from openhtc.agent.images.errors import ImageError
from openhtc.agent.images.store import Image
from openhtc.agent.runtimes.base import ContainerSpec
from openhtc.agent.sandbox.cgroups import Cgroup, CgroupTree
from openhtc.agent.sandbox.ids import IdMap
from openhtc.agent.sandbox.network import Network
from openhtc.agent.sandbox.networks import Networks
from openhtc.agent.sandbox.rootfs import RootFs
from openhtc.agent.sandbox.scratch import LoopScratch, PlainScratch, Scratch
from openhtc.domain.work import Capacity, Usage

log = structlog.get_logger(__name__)

PIDS_PER_JOB = 4096
_MAX_SHM = 1 << 30
_DISK_TROUBLE = (errno.ENOSPC, errno.EDQUOT, errno.EIO)


class SandboxError(Exception):
    """The node could not set something up: not the job's fault (outcome NODE_FAULT)."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What a slot gets from the sandbox it belongs to."""

    ids: IdMap
    cgroups: CgroupTree | None
    disk_enforced: bool
    etc: dict[str, bytes]
    """Files for every container's /etc, by name."""
    networks: Networks


@dataclass(frozen=True, slots=True)
class Collected:
    """What is known about a job's use of the slot once its container has ended."""

    oom_kills: int
    disk_full: bool
    usage: Usage


class Slot:
    """Used from one thread; get it from Sandshared.slot()."""

    def __init__(self, shared: Shared, name: str, directory: Path) -> None:
        self.name = name
        self._shared = shared
        self._directory = directory
        self._cgroup: Cgroup | None = None
        self._scratch: Scratch | None = None
        self._rootfs: RootFs | None = None
        self._network: Network | None = None
        self._shm_bytes = 0

    def prepare(self, image: Image, needs: Capacity, identity: Identity, workdir: str | None = None) -> Path:
        """Limits set, disk empty, root file system mounted: its path.

        ``workdir`` (the image's own, not the job's) is made when it is missing. Raises SandboxError, and
        ImageError for a working directory that cannot be made.
        """
        try:
            return self._prepare(image, needs, identity, workdir)
        except OSError as error:
            raise SandboxError(f"slot {self.name} could not be prepared: {error}") from error

    def _prepare(self, image: Image, needs: Capacity, identity: Identity, workdir: str | None) -> Path:
        rootfs, scratch = self._set_up()
        rootfs.unmount()  # a job whose reset failed half way
        if self._cgroup is not None:
            self._cgroup.limit(needs.vcpus, needs.memory_mib, PIDS_PER_JOB)
        rootfs.mount(image.rootfs, scratch.prepare(max(1, needs.disk_gib)))
        if workdir:
            _make_workdir(rootfs, workdir, identity)
        self._shm_bytes = min(_MAX_SHM, (needs.memory_mib << 20) // 2)
        return rootfs.path

    def spec(
        self,
        *,
        name: str,
        args: tuple[str, ...],
        env: tuple[tuple[str, str], ...],
        cwd: str,
        identity: Identity,
    ) -> ContainerSpec:
        """The container for what was prepared; ``name`` is also the host name in it (at most 63 characters)."""
        assert self._rootfs is not None and self._network is not None, "prepare() comes first"
        return ContainerSpec(
            name=name,
            rootfs=self._rootfs.path,
            args=args,
            env=env,
            cwd=cwd or "/",
            uid=identity.uid,
            gid=identity.gid,
            groups=identity.groups,
            cgroup=self._cgroup,
            network=self._network.path,
            shm_bytes=self._shm_bytes,
        )

    def disk_full(self) -> bool:
        """True when the job has used up its disk. Without a kernel limit the caller asks this every second."""
        return self._scratch is not None and self._scratch.is_full()

    def collect(self) -> Collected:
        """Counters of this job alone; call it between the container's end and reset()."""
        full = self.disk_full()
        if self._cgroup is None:
            return Collected(0, full, Usage())
        cpu_ms, memory_mib = self._cgroup.usage()
        return Collected(self._cgroup.oom_kills(), full, Usage(cpu_ms, memory_mib))

    def reset(self) -> None:
        """Kill what may be left, unmount, empty the disk. Raises SandboxError when the slot is unusable."""
        if self._cgroup is not None and not self._cgroup.kill_all():
            raise SandboxError(f"processes in slot {self.name} do not die")
        try:
            if self._network is not None:
                self._network.drop_connections()
                if self._network.used:
                    used, self._network = self._network, None
                    self._network = self._shared.networks.exchange(used)
            if self._rootfs is not None:
                self._rootfs.unmount()
            if self._scratch is not None:
                self._scratch.empty()
        except OSError as error:
            raise SandboxError(f"slot {self.name} could not be emptied: {error}") from error

    def close(self) -> None:
        """Remove the slot's cgroup, network, mounts and files. No container may run in it."""
        if self._cgroup is not None:
            self._cgroup.close()
        if self._network is not None:
            self._network.close()
        try:
            if self._rootfs is not None:
                self._rootfs.unmount()
            if self._scratch is not None:
                self._scratch.close()
        except OSError as error:
            log.warning("slot_not_removed", slot=self.name, error=str(error))
        self._cgroup = self._network = self._rootfs = self._scratch = None

    def _set_up(self) -> tuple[RootFs, Scratch]:
        """Make what does not exist yet; the network last, because it is the dearest."""
        shared = self._shared
        if self._cgroup is None and shared.cgroups is not None:
            self._cgroup = shared.cgroups.group(self.name)
        if self._scratch is None:
            self._scratch = new_scratch(shared, self._directory)
        if self._rootfs is None:
            self._rootfs = RootFs(self._directory / "root", shared.ids, shared.etc)
        if self._network is None:
            self._network = shared.networks.make()
        return self._rootfs, self._scratch


def new_scratch(shared: Shared, directory: Path) -> Scratch:
    """The disk of a slot; ``directory`` is the slot's own."""
    kind = LoopScratch if shared.disk_enforced else PlainScratch
    return kind(directory / "scratch")


def _make_workdir(rootfs: RootFs, path: str, identity: Identity) -> None:
    try:
        rootfs.make_directory(path, identity.uid, identity.gid)
    except OSError as error:
        if error.errno in _DISK_TROUBLE:
            raise
        raise ImageError(
            f'the image\'s working directory "{path}" cannot be made: {error.strerror}'
        ) from error
