"""User namespaces that map a container's ids to unprivileged host ids, made once and joined by every start.

bubblewrap joins such a namespace (--userns) and becomes the wanted user in there without help from root.
Two details of bwrap 0.8 decide how: it changes its uid before its gid, so a caller that is "root" in the
namespace would lose its capabilities half way; and the kernel delivers the parent-death signal between
bwrap's monitor and its child only when both have the same host uid. Both are right when the caller already
has the host ids of the container's user, and that caller may join a namespace only if it owns it. Hence one
namespace for each user that images ask for, owned by that user.
"""

import os
import subprocess
import threading
import time
from collections import OrderedDict
from pathlib import Path

from openhtc.agent.sandbox.ids import IdMap

_KEPT = 64
_DEADLINE_SECONDS = 10.0


class IdNamespaces:
    """Thread-safe cache of open user namespaces."""

    def __init__(self, ids: IdMap) -> None:
        self._ids = ids
        self._lock = threading.Lock()
        self._open: OrderedDict[int, int] = OrderedDict()

    def open(self, uid: int) -> int:
        """A descriptor of the namespace owned by the container user ``uid``; the caller closes it."""
        with self._lock:
            if uid not in self._open:
                self._open[uid] = _create(self._ids, str(self._ids.host(uid)))
                if len(self._open) > _KEPT:
                    os.close(self._open.popitem(last=False)[1])
            self._open.move_to_end(uid)
            return os.dup(self._open[uid])

    def close(self) -> None:
        with self._lock:
            while self._open:
                os.close(self._open.popitem()[1])


def create_for_slot(ids: IdMap, number: int) -> int:
    """A descriptor of a namespace that no other slot has, of an owner that no other has.

    What the kernel counts for each namespace and its owner (inotify instances, pending signals, message queues) no
    slot can take from another then.
    """
    return _create(ids, str(ids.base + ids.count + 1 + number))


def _create(ids: IdMap, owner: str) -> int:
    as_owner = ["setpriv", "--reuid", owner, "--regid", owner, "--clear-groups"]
    holder = subprocess.Popen(
        [*as_owner, "unshare", "--user", "cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, cwd="/"
    )
    try:
        process = Path(f"/proc/{holder.pid}")
        _wait_for_namespace(process, holder)
        for name in ("uid_map", "gid_map"):
            (process / name).write_text(f"0 {ids.base} {ids.count}\n")
        return os.open(process / "ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        holder.communicate()


def _wait_for_namespace(process: Path, holder: "subprocess.Popen[bytes]") -> None:
    ours = (Path("/proc/self/ns/user")).readlink()
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while (process / "ns/user").readlink() == ours:
        if holder.poll() is not None or time.monotonic() > deadline:
            raise OSError(f"unshare --user as the host user {process.name} did not work")
        time.sleep(0.001)
