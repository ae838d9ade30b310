"""What every container runtime offers the agent.

The agent prepares (root file system, cgroup, network namespace, output pipe) and decides (time-outs,
why a job ended); a runtime only starts a container, signals it and waits for it. The conformance suite
in tests/conformance/runtimes holds for all of them.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Mount:
    """A bind mount of a host path into the container."""

    source: Path
    target: str
    read_only: bool = True


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """One container, all of it decided: absolute paths, numeric ids, complete environment.

    uid and gid are those inside the container; the sandbox maps them to unprivileged ones outside.
    """

    name: str
    rootfs: Path
    args: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    cwd: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    cgroup: "CgroupHandle | None"
    network: Path | None
    """Network namespace to join, as a path that can be opened; None for an empty namespace."""
    mounts: tuple[Mount, ...] = field(default=())
    shm_bytes: int = 64 * 1024 * 1024


class CgroupHandle(Protocol):
    """The cgroup a container is put in before its first process runs."""

    def procs_files(self) -> tuple[Path, ...]:
        """Files to which a process writes its pid to enter (one in v2, one for each controller in v1)."""


@dataclass(frozen=True, slots=True)
class Exit:
    """How the container's main process ended.

    exit_code is what a shell would show (128 + n for signal n). start_error is set when the program never
    ran: its text is for the user (command not found, no such working directory).
    """

    exit_code: int
    start_error: str | None = None
    node_error: str | None = None
    """Set when the runtime itself failed for a reason that is not the job's."""


class Stoppable(Protocol):
    """What runs, for those who may have to end it."""

    def signal(self, number: int) -> None:
        """Signal the main process; nothing happens when it has ended."""

    def kill(self) -> None:
        """SIGKILL every process of the container; idempotent."""


class Container(Stoppable, Protocol):
    def wait(self, timeout: float | None = None) -> Exit | None:
        """The end of the main process, None when it still runs after timeout seconds.

        When this returns an Exit, no process of the container is left.
        """


class Runtime(Protocol):
    name: str

    def start(self, spec: ContainerSpec, output: int) -> Container:
        """Start the container with standard output and error on the file descriptor ``output``.

        Returns at once; what cannot start is told by wait(). Standard input is empty.
        """
