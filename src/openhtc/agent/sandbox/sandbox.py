"""What the slots of an agent share, and what of it this node can do."""

from pathlib import Path

import structlog

from openhtc.agent.sandbox import cgroups, cgroups_v1, cgroups_v2
from openhtc.agent.sandbox.files import discard_tree, remove_tree
from openhtc.agent.sandbox.forwarder import Forward, Forwarder
from openhtc.agent.sandbox.mode import Mode
from openhtc.agent.sandbox.network import DNS_OUTSIDE, outside_works
from openhtc.agent.sandbox.networks import Networks
from openhtc.agent.sandbox.scratch import loop_works
from openhtc.agent.sandbox.slot import Shared, Slot

log = structlog.get_logger(__name__)

_HOSTS = b"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n"


class Sandbox:
    """Open it once, after mode.enter(). slot() is thread-safe.

    ``missing``: what cannot be enforced here, one short sentence each (AgentHello.limits_missing).
    ``shared``: what its slots share. ``slots_dir``: where they have their directories.
    ``disk_enforced``: False when the caller has to ask Slot.disk_full() while a job runs.
    """

    def __init__(self, mode: Mode, data_dir: Path, *, forwards: list[Forward], outside: bool = True) -> None:
        """Kills and removes what a killed predecessor with the same ``data_dir`` left."""
        self.missing: list[str] = []
        self.slots_dir = data_dir / "slots"
        self._clear_directory(data_dir)
        self._cgroups = self._find_cgroups(data_dir)
        self.disk_enforced = mode.privileged and loop_works(self.slots_dir / "trial")
        if not self.disk_enforced:
            self.missing.append("disk limit is checked once a second, not enforced by the kernel")
        reaches_outside = outside and self._outside_works()
        resolver = (
            f"nameserver {DNS_OUTSIDE}\n" if reaches_outside else "# no name server: no outside network\n"
        )
        etc = {"resolv.conf": resolver.encode(), "hosts": _HOSTS}
        self._forwarder = Forwarder()
        self.shared = Shared(
            ids=mode.ids,
            cgroups=self._cgroups,
            disk_enforced=self.disk_enforced,
            etc=etc,
            networks=Networks(forwards, self._forwarder, outside=reaches_outside),
        )

    def slot(self, name: str) -> Slot:
        """A slot with a short name of its own, e.g. "0"; costs nothing until prepare()."""
        directory = self.slots_dir / name
        directory.mkdir(mode=0o711, exist_ok=True)
        return Slot(self.shared, name, directory)

    def close(self) -> None:
        """Remove everything that is shared. All slots must be closed."""
        self.shared.networks.close()
        self._forwarder.close()
        if self._cgroups is not None:
            self._cgroups.close()
        discard_tree(self.slots_dir)

    def _clear_directory(self, data_dir: Path) -> None:
        data_dir.mkdir(parents=True, exist_ok=True)
        if self.slots_dir.exists():
            remove_tree(self.slots_dir)
        self.slots_dir.mkdir(mode=0o711)
        self.slots_dir.chmod(0o711)

    def _find_cgroups(self, data_dir: Path) -> cgroups.CgroupTree | None:
        name = cgroups.scope(data_dir)
        tree = cgroups_v2.find(name) or cgroups_v1.find(name)
        if tree is None:
            self.missing.append("memory, cpu and pids limits: no writable cgroup")
            return None
        self.missing.extend(tree.missing)
        swept = tree.sweep()
        if swept:
            log.info("cgroups_swept", count=swept)
        return tree

    def _outside_works(self) -> bool:
        reason = outside_works()
        if reason is not None:
            self.missing.append(reason)
        return reason is None
