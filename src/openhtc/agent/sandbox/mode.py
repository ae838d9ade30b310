"""How much of a machine the agent may use: as root, or as an ordinary user.

``enter()`` is the first thing an agent's main() calls, before any thread exists: it executes the same
command again in namespaces of its own and returns only in there. Mounts that the agent makes are then
invisible outside and vanish with it, however it dies.
"""

import contextlib
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from openhtc.agent.sandbox import linux
from openhtc.agent.sandbox.ids import IdMap
from openhtc.domain.errors import SettingsError

_MARK = "OPENHTC_AGENT_ENTERED_FROM"
_CAP_SYS_ADMIN = 1 << 21


@dataclass(frozen=True, slots=True)
class Mode:
    kind: Literal["privileged", "rootless"]
    ids: IdMap

    @property
    def privileged(self) -> bool:
        return self.kind == "privileged"


def detect() -> Mode:
    """What this process can be. The same answer before and after enter()."""
    if os.geteuid() == 0 and _in_initial_user_namespace() and _can_administer():
        return Mode("privileged", IdMap.privileged())
    return Mode("rootless", IdMap.rootless())


def enter() -> Mode:
    """Get into a mount namespace (and, as an ordinary user, a user namespace) of our own.

    Executes ``sys.orig_argv`` again by way of unshare(1) once. Raises SettingsError when the kernel
    does not let an ordinary user make user namespaces.
    """
    mode = detect()
    before = os.environ.pop(_MARK, None)
    if before is None:
        _execute_again(mode)
    if before == _mount_namespace():
        raise SettingsError("the agent did not get a mount namespace of its own")
    close_to_children()
    os.umask(0o022)  # every container begins with ours
    linux.become_subreaper()
    return mode


def close_to_children() -> None:
    """Descriptors that we were started with, beyond the three usual ones, are not for containers."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - the numbers, not paths
        if int(name) > 2:
            with contextlib.suppress(OSError):
                os.set_inheritable(int(name), False)


def _execute_again(mode: Mode) -> None:
    unshare = shutil.which("unshare")
    if unshare is None:
        raise SettingsError("the program unshare (package util-linux) is missing")
    flags = ["--mount", "--propagation", "private"]
    if not mode.privileged:
        _check_user_namespaces()
        flags = ["--user", "--map-root-user", *flags]
    os.environ[_MARK] = _mount_namespace()
    command = [unshare, *flags, "--", sys.executable, *sys.orig_argv[1:]]
    os.execv(unshare, command)  # noqa: S606 - this is what the function is for


def _check_user_namespaces() -> None:
    for name in ("user/max_user_namespaces", "kernel/unprivileged_userns_clone"):
        path = Path("/proc/sys") / name
        if path.exists() and path.read_text().strip() == "0":
            raise SettingsError(
                f"an ordinary user cannot run jobs here: the kernel setting {path} is 0; "
                "set it to 1 (unprivileged_userns_clone) or some thousands, or run as root"
            )


def _mount_namespace() -> str:
    return str(Path("/proc/self/ns/mnt").readlink())


def _in_initial_user_namespace() -> bool:
    return Path("/proc/self/uid_map").read_text().split() == ["0", "0", "4294967295"]


def _can_administer() -> bool:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) & _CAP_SYS_ADMIN)
    return False
