"""Containers by bubblewrap.

One start is: look into the root file system whether the program can run at all, write bwrap's options into an
unnamed file (they hold the environment, which nobody must read in a list of processes), enter the slot's
network with the calling thread, take on the container's host ids, spawn bwrap, go back. bwrap then makes the
namespaces and waits (--block-fd) until its child was put into the job's cgroup, before the job exists.

What bwrap tells (--json-status-fd): the child's pid at once; "exit-code" only if the program was executed.
When it is missing and the block was passed, the kernel refused to execute the program.
"""

import contextlib
import errno
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import structlog

from openhtc.agent.runtimes import program
from openhtc.agent.runtimes.base import Container, ContainerSpec
from openhtc.agent.runtimes.bubblewrap_container import BubblewrapContainer, Status
from openhtc.agent.runtimes.ending import cannot_start, node_failure, wait_readable
from openhtc.agent.sandbox import linux, seccomp
from openhtc.agent.sandbox.ids_namespace import IdNamespaces
from openhtc.agent.sandbox.mode import Mode
from openhtc.domain.errors import SettingsError

log = structlog.get_logger(__name__)

_SETUP_SECONDS = 30.0
_RESET_SIGNALS = (
    signal.SIGPIPE,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGTERM,
    signal.SIGCHLD,
)
_MASKED_FILES = (
    "kcore",
    "keys",
    "timer_list",
    "latency_stats",
    "sched_debug",
    "kallsyms",
    "kmsg",
    "vmallocinfo",
)
_MASKED_DIRECTORIES = ("acpi", "scsi", "asound", "driver")
_SHARED_MEMORY = ("--tmpfs", "/dev/shm", "--remount-ro", "/dev")  # noqa: S108 - a path of the container
_first_line = msgspec.json.Decoder(Status)


class Bubblewrap:
    """Runtime by bwrap(1). Raises SettingsError at construction when it cannot work here. Thread-safe."""

    name = "bubblewrap"

    def __init__(self, mode: Mode) -> None:
        self._program = _program("bwrap", "bubblewrap")
        self._nsenter = _program("nsenter", "util-linux")
        self._ids = mode.ids
        self._namespaces = None if mode.ids.is_single else IdNamespaces(mode.ids)
        self._filter = f"/proc/self/fd/{seccomp.compiled()}"
        self._fixed = _fixed_options()

    def start(self, spec: ContainerSpec, output: int) -> Container:
        """Call it from a thread that lives at least as long as the container: both die together."""
        with contextlib.ExitStack() as stack:
            try:
                root = os.open(spec.rootfs, os.O_PATH | os.O_DIRECTORY)
                stack.callback(os.close, root)
                reason = program.why_not(spec, root, self._ids)
                if reason is not None:
                    return cannot_start(reason)
                return self._launch(spec, root, output, stack)
            except OSError as error:
                log.warning("container_not_started", name=spec.name, error=str(error))
                return node_failure(f"bubblewrap could not be started: {error}")

    def _launch(self, spec: ContainerSpec, root: int, output: int, stack: contextlib.ExitStack) -> Container:
        status_read, status_write = os.pipe2(os.O_CLOEXEC)
        gate_read, gate_write = os.pipe2(os.O_CLOEXEC)
        stack.callback(os.close, gate_write)
        passed = {"--json-status-fd": status_write, "--block-fd": gate_read, "--bind-fd": os.dup(root)}
        try:
            passed["--seccomp"] = os.open(self._filter, os.O_RDONLY)
            if self._namespaces is not None:
                passed["--userns"] = self._namespaces.open(spec.uid)
            passed["--args"] = _unnamed_file(self._options(spec, passed))
            monitor = self._spawn(spec, passed, output)
        except BaseException:
            os.close(status_read)
            raise
        finally:
            for name, fd in passed.items():
                if name != "--block-fd":
                    os.close(fd)
        container = BubblewrapContainer(monitor, os.pidfd_open(monitor), status_read, gate_read)
        self._admit(container, spec, status_read, gate_write)
        return container

    def _admit(self, container: BubblewrapContainer, spec: ContainerSpec, status: int, gate: int) -> None:
        """Put the container's first process into the cgroup, then let it go on."""
        line = _read_line(status)
        if not line:
            container.kill()  # wait() will say that it never ran
            return
        child = _first_line.decode(line).child_pid
        try:
            container.found_first_process(child)
            for file in spec.cgroup.procs_files() if spec.cgroup else ():
                file.write_text(str(child))
        except (OSError, ValueError) as error:
            container.fail(f"the container could not be put into its cgroup: {error}")
            return
        os.write(gate, b"\0")

    def _options(self, spec: ContainerSpec, passed: dict[str, int]) -> list[str]:
        options = ["--userns", str(passed["--userns"])] if "--userns" in passed else ["--unshare-user"]
        options += ["--uid", str(spec.uid), "--gid", str(spec.gid), "--hostname", spec.name]
        for name in ("--json-status-fd", "--block-fd", "--seccomp"):
            options += [name, str(passed[name])]
        if spec.network is None:
            options.append("--unshare-net")
        options += ["--bind-fd", str(passed["--bind-fd"]), "/", *self._fixed]
        options += ["--perms", "1777", "--size", str(spec.shm_bytes), *_SHARED_MEMORY]
        for item in spec.mounts:
            options += ["--ro-bind" if item.read_only else "--bind", str(item.source), item.target]
        options += ["--chdir", spec.cwd, "--clearenv"]
        for name, value in spec.env:
            options += ["--setenv", name, value]
        return options

    def _spawn(self, spec: ContainerSpec, passed: dict[str, int], output: int) -> int:
        actions: list[tuple[int, int, int] | tuple[int, int, str, int, int]] = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, output, 1),
            (os.POSIX_SPAWN_DUP2, output, 2),
            # Onto itself: that clears close-on-exec in the child and nowhere else.
            *((os.POSIX_SPAWN_DUP2, fd, fd) for fd in passed.values()),
        ]
        words = [self._program, "--args", str(passed["--args"]), "--", *spec.args]
        if self._namespaces is None:
            # Without power over the host's network namespace a thread could not come back to it.
            words = [*self._enter_network(spec.network), *words]
            ids, network = None, None
        else:
            groups = tuple(self._ids.host(g) for g in spec.groups)
            ids, network = (self._ids.host(spec.uid), self._ids.host(spec.gid), groups), spec.network
        with _thread_in(network), _thread_as(ids):
            return os.posix_spawn(
                words[0],
                words,
                {},
                file_actions=actions,
                setsid=True,
                setsigmask=[],
                setsigdef=_RESET_SIGNALS,
            )

    def _enter_network(self, network: Path | None) -> list[str]:
        return [self._nsenter, f"--net={network}", "--"] if network else []


def _program(name: str, package: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise SettingsError(f"the program {name} (package {package}) is missing")
    return found


def _fixed_options() -> list[str]:
    options = ["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try", "--cap-drop", "ALL"]
    options += ["--die-with-parent", "--new-session", "--proc", "/proc"]
    for name in _MASKED_FILES:
        if Path("/proc", name).exists():
            options += ["--ro-bind", "/dev/null", f"/proc/{name}"]
    for name in _MASKED_DIRECTORIES:
        if Path("/proc", name).is_dir():
            options += ["--tmpfs", f"/proc/{name}", "--remount-ro", f"/proc/{name}"]
    options += ["--tmpfs", "/sys", "--ro-bind", "/sys/devices/system", "/sys/devices/system"]
    return [*options, "--remount-ro", "/sys", "--dev", "/dev"]


def _read_line(fd: int) -> bytes:
    """Byte by byte is fine for one short line; empty when bwrap ended or took too long."""
    line = b""
    while wait_readable(fd, _SETUP_SECONDS):
        piece = os.read(fd, 1)
        if piece == b"\n":
            return line
        if not piece:
            break
        line += piece
    return b""


def _unnamed_file(words: list[str]) -> int:
    if any("\0" in word for word in words):
        raise OSError(errno.EINVAL, "a zero byte would end an option and begin the next one")
    fd = os.memfd_create("bwrap-args")
    try:
        os.write(fd, b"".join(os.fsencode(word) + b"\0" for word in words))
        os.lseek(fd, 0, os.SEEK_SET)
    except BaseException:
        os.close(fd)
        raise
    return fd


@contextlib.contextmanager
def _thread_in(network: Path | None) -> Iterator[None]:
    """The calling thread, and what it spawns, in another network namespace."""
    if network is None:
        yield
        return
    theirs = os.open(network, os.O_RDONLY)
    ours = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        linux.setns(theirs, linux.CLONE_NEWNET)
        try:
            yield
        finally:
            _or_die(lambda: linux.setns(ours, linux.CLONE_NEWNET))
    finally:
        os.close(theirs)
        os.close(ours)


@contextlib.contextmanager
def _thread_as(ids: tuple[int, int, tuple[int, ...]] | None) -> Iterator[None]:
    """The calling thread, and what it spawns, as another user of the host, without any capability."""
    if ids is None:
        yield
        return
    before = tuple(os.getgroups())
    try:
        linux.thread_ids(*ids)
        yield
    finally:
        _or_die(lambda: linux.thread_ids(0, 0, before))


def _or_die(go_back: Callable[[], None]) -> None:
    """A thread that cannot go back to where it belongs must not run on."""
    try:
        go_back()
    except OSError as error:
        log.critical("thread_lost_its_place", error=str(error))
        os._exit(70)
