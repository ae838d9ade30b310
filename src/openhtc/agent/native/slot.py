"""One slot of the node for the native runtime: cgroup, disk, network, and the program that starts containers in it.

The program lives in the slot's cgroup and network, so that no container has to be moved there. It is replaced when
the size of the disk changes, and when it ends: by a fault, or because a job left more on the disk than it removes.
"""

import contextlib
import itertools
import os
import signal
import socket
import threading
from dataclasses import dataclass
from pathlib import Path

import structlog

from openhtc.agent.native import frames, program
from openhtc.agent.runtimes.ending import reap, send, wait_readable
from openhtc.agent.sandbox import seccomp
from openhtc.agent.sandbox.cgroups import Cgroup
from openhtc.agent.sandbox.ids_namespace import create_for_slot
from openhtc.agent.sandbox.mode import Mode
from openhtc.agent.sandbox.network import Network
from openhtc.agent.sandbox.scratch import Scratch
from openhtc.agent.sandbox.slot import PIDS_PER_JOB, SandboxError, Shared, new_scratch
from openhtc.domain.work import Capacity

log = structlog.get_logger(__name__)

_OWN_PROCESSES = 2
"""The slot's program and the container's first process count among the processes of the slot."""
_END_SECONDS = 30.0
_numbers = itertools.count()
"""Of the slots of this process."""
_DEFAULT_SIGNALS = (
    signal.SIGPIPE,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGTERM,
    signal.SIGCHLD,
)


@dataclass(frozen=True, slots=True)
class Common:
    """What all native slots of an agent share. Raises SettingsError where the program was not built."""

    shared: Shared
    images: Path
    """Every image lies below it."""
    program: Path
    filter: int
    """Descriptor of the system call filter."""
    etc: int
    """Descriptor of a directory with files for every container's /etc."""

    @classmethod
    def make(cls, mode: Mode, shared: Shared, images: Path, directory: Path) -> "Common":
        directory.mkdir(exist_ok=True)
        for name, content in shared.etc.items():
            (directory / name).write_bytes(content)
        etc = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        return cls(shared, images.resolve(), program.find(), seccomp.compiled(), etc)


class NativeSlot:
    """fit(), restart() and close() from one thread at a time; send() from any."""

    def __init__(self, common: Common, name: str, directory: Path) -> None:
        self.name = name
        self.needs: Capacity | None = None
        """What it was made fit for last."""
        self._common = common
        self._directory = directory
        self._cgroup: Cgroup | None = None
        self._scratch: Scratch | None = None
        self._disk_gib = 0
        self._network: Network | None = None
        self._process = self._users = -1
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()
        self._unsent = b""

    # -- resources ---------------------------------------------------------------------------------

    def fit(self, needs: Capacity) -> None:
        """Limits and disk for jobs with these needs, and a program that runs. Raises SandboxError."""
        try:
            self._fit(needs)
        except OSError as error:
            raise SandboxError(f"slot {self.name} could not be prepared: {error}") from error

    def _fit(self, needs: Capacity) -> None:
        shared = self._common.shared
        if self._cgroup is None and shared.cgroups is not None:
            self._cgroup = shared.cgroups.group(self.name)
        if self._scratch is None:
            self._scratch = new_scratch(shared, self._directory)
        if self._network is None:
            self._network = shared.networks.make()
        if self._cgroup is not None:
            self._cgroup.limit(needs.vcpus, needs.memory_mib, PIDS_PER_JOB + _OWN_PROCESSES)
        gib = max(1, needs.disk_gib)
        if gib != self._disk_gib:
            self._end_process()
            self._disk_gib = 0
        space = self._scratch.prepare(gib)
        self._disk_gib = gib
        if self._process < 0:
            self._start_process(space)
        self.needs = needs

    def restart(self, *, new_network: bool) -> None:
        """After the program has ended: everything of it and of its jobs is gone. Raises SandboxError."""
        self._end_process()
        self.needs = None
        self._disk_gib = 0
        if self._cgroup is not None and not self._cgroup.kill_all():
            raise SandboxError(f"processes in slot {self.name} do not die")
        try:
            if self._scratch is not None:
                self._scratch.empty()
            if new_network and self._network is not None:
                used, self._network = self._network, None
                self._network = self._common.shared.networks.exchange(used)
        except OSError as error:
            raise SandboxError(f"slot {self.name} could not be emptied: {error}") from error

    def close(self) -> None:
        """Remove everything. No job may run in it."""
        self._end_process()
        if self._cgroup is not None:
            self._cgroup.close()
        if self._network is not None:
            self._network.close()
        if self._scratch is not None:
            self._scratch.close()
        if self._users >= 0:
            os.close(self._users)
            self._users = -1
        self._cgroup = self._network = self._scratch = None

    def drop_connections(self) -> None:
        if self._network is not None:
            self._network.drop_connections()

    def disk_full(self) -> bool:
        """Without a kernel limit the caller asks this every second."""
        return self._scratch is not None and self._scratch.is_full()

    def oom_kills(self) -> int:
        """Since the slot was made fit."""
        return self._cgroup.oom_kills() if self._cgroup is not None else 0

    # -- the program -------------------------------------------------------------------------------

    def fileno(self) -> int:
        """The socket to the program; -1 while there is none."""
        return self._socket.fileno() if self._socket is not None else -1

    def receive(self, size: int) -> bytes | None:
        """What has come; None when there is nothing, empty when the program has ended."""
        try:
            return self._socket.recv(size) if self._socket is not None else b""
        except BlockingIOError:
            return None
        except ConnectionError:
            return b""

    def send(self, frame: bytes) -> bool:
        """Send it, or keep what the program does not take at once: False then, and flush() is to be called."""
        with self._lock:
            self._unsent += frame
            return self._flush()

    def flush(self) -> bool:
        """False while something waits to be sent."""
        with self._lock:
            return self._flush()

    def signal(self, job: int, number: int) -> None:
        self.send(frames.signal(job, number))

    def kill_program(self) -> None:
        """When nothing else helps: its socket is at its end then."""
        if self._process >= 0:
            send(self._process, signal.SIGKILL)

    def program_ended(self) -> int:
        """How it ended, after its socket did: its exit code, 128 and more by a signal."""
        if not wait_readable(self._process, _END_SECONDS):
            self.kill_program()
            wait_readable(self._process, _END_SECONDS)
        code = reap(self._process)
        os.close(self._process)
        self._process = -1
        return -1 if code is None else code

    def _flush(self) -> bool:
        while self._unsent and self._socket is not None:
            try:
                self._unsent = self._unsent[self._socket.send(self._unsent) :]
            except BlockingIOError:
                return False
            except OSError:
                self._unsent = b""  # it has ended, which the reader is told of
        return True

    def _start_process(self, space: Path) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        opened = self._cgroup.meters() if self._cgroup is not None else {}
        try:
            assert self._network is not None
            opened["network"] = os.open(self._network.path, os.O_RDONLY)
            passed = {
                "socket": theirs.fileno(),
                "filter": self._common.filter,
                "etc": self._common.etc,
                **opened,
            }
            if not self._common.shared.ids.is_single:
                passed["users"] = self._user_namespace()
            pid = self._spawn(passed, space)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
            for fd in opened.values():
                os.close(fd)
        self._process = os.pidfd_open(pid)
        self._socket, self._unsent = ours, b""
        for file in self._cgroup.procs_files() if self._cgroup is not None else ():
            file.write_text(str(pid))

    def _user_namespace(self) -> int:
        """A descriptor; an ordinary user's slots have none of their own."""
        if self._users < 0:
            self._users = create_for_slot(self._common.shared.ids, next(_numbers))
        return self._users

    def _spawn(self, passed: dict[str, int], space: Path) -> int:
        common = self._common
        words = [str(common.program), *(f"{name}={fd}" for name, fd in passed.items())]
        words += [f"images={common.images}", f"space={space}", f"base={common.shared.ids.base}"]
        if common.shared.disk_enforced:
            words.append("limited")
        # Onto itself: that clears close-on-exec in the child and nowhere else.
        actions = [(os.POSIX_SPAWN_DUP2, fd, fd) for fd in passed.values()]
        return os.posix_spawn(
            words[0],
            words,
            {},
            file_actions=actions,
            setsid=True,
            setsigmask=[],
            setsigdef=_DEFAULT_SIGNALS,
        )

    def _end_process(self) -> None:
        """It ends when its socket does, and its container with it."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._process < 0:
            return
        if not wait_readable(self._process, _END_SECONDS):
            log.error("slot_program_killed", slot=self.name)
            send(self._process, signal.SIGKILL)
            wait_readable(self._process, _END_SECONDS)
        with contextlib.suppress(OSError):
            reap(self._process)
        os.close(self._process)
        self._process = -1
