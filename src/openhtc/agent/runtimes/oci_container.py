"""One container that an OCI runtime started: first the runtime at work, then the orphan it leaves to us."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import msgspec
import structlog

from openhtc.agent.runtimes.base import Exit
from openhtc.agent.runtimes.ending import reap, send, wait_readable
from openhtc.agent.sandbox.files import remove_tree

log = structlog.get_logger(__name__)

_SETUP_SECONDS = 60.0


class _LogLine(msgspec.Struct, frozen=True):
    level: str = ""
    msg: str = ""


class OciContainer:
    """Thread-safe: kill() and signal() may come from another thread than wait()."""

    def __init__(self, name: str, runtime_fd: int, bundle: Path, delete: list[str]) -> None:
        self._name = name
        self._runtime_fd = runtime_fd
        self._bundle = bundle
        self._delete = delete
        self._first_fd = -1
        self._killed = False
        self._exit: Exit | None = None
        self._lock = threading.RLock()

    def signal(self, number: int) -> None:
        with self._lock:
            if self._started(_SETUP_SECONDS) and self._exit is None:
                send(self._first_fd, number)

    def kill(self) -> None:
        with self._lock:
            self._killed = self._exit is None
            # Killing the runtime while it is at work would leave half a container.
            if self._started(_SETUP_SECONDS) and self._exit is None:
                send(self._first_fd, signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> Exit | None:
        deadline = None if timeout is None else time.monotonic() + timeout
        if not self._wait_started(timeout):
            return None
        with self._lock:
            if self._exit is not None:
                return self._exit
            first = self._first_fd
        if not wait_readable(first, None if deadline is None else max(0.0, deadline - time.monotonic())):
            return None
        with self._lock:
            if self._exit is None:
                self._exit = self._finish()
            return self._exit

    def _wait_started(self, timeout: float | None) -> bool:
        """Without the lock, so that a kill can come while the runtime is at work."""
        with self._lock:
            if self._exit is not None or self._first_fd >= 0:
                return True
            runtime = os.dup(self._runtime_fd)
        try:
            wait_readable(runtime, timeout)
        finally:
            os.close(runtime)
        with self._lock:
            return self._started(0)

    def _started(self, timeout: float) -> bool:
        """True when the runtime has done its work: then there is a first process, or an Exit."""
        if self._exit is not None or self._first_fd >= 0:
            return True
        if not wait_readable(self._runtime_fd, timeout):
            return False
        code = reap(self._runtime_fd)
        os.close(self._runtime_fd)
        try:
            self._first_fd = os.pidfd_open(int((self._bundle / "pid").read_text())) if code == 0 else -1
        except (OSError, ValueError):
            self._first_fd = -1
        if self._first_fd < 0:
            self._exit = self._never_ran()
        return True

    def _finish(self) -> Exit:
        code = reap(self._first_fd)
        os.close(self._first_fd)
        self._clean_up()
        if self._killed:
            return Exit(128 + signal.SIGKILL)
        if code is None:
            return Exit(125, node_error=f"{self._name}: the exit status of the program was lost")
        return Exit(code)

    def _never_ran(self) -> Exit:
        complaint = self._complaint() or "no container and no reason given"
        self._clean_up()
        if "exec" in complaint and "container process" in complaint:
            return Exit(126, start_error=f"cannot start: {complaint[:500]}")
        return Exit(125, node_error=f"{self._name}: {complaint[:500]}")

    def _clean_up(self) -> None:
        done = subprocess.run(self._delete, capture_output=True, stdin=subprocess.DEVNULL, check=False)
        if done.returncode != 0:
            log.warning("container_not_deleted", error=done.stderr.decode("utf-8", "replace")[-300:])
        with contextlib.suppress(OSError):
            remove_tree(self._bundle)

    def _complaint(self) -> str | None:
        """The runtime's own last word, if it has anything against the container."""
        said: str | None = None
        with contextlib.suppress(OSError):
            for line in (self._bundle / "log").read_bytes().splitlines():
                with contextlib.suppress(msgspec.MsgspecError):
                    entry = msgspec.json.decode(line, type=_LogLine)
                    if entry.level in ("error", "fatal"):
                        said = entry.msg
        return said
