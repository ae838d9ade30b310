"""One container that bubblewrap runs: its monitor on our side, its first process on the other."""

import contextlib
import os
import signal
import threading
from pathlib import Path

import msgspec

from openhtc.agent.runtimes.base import Exit
from openhtc.agent.runtimes.ending import await_orphan, reap, send, wait_readable

_DEATH_SECONDS = 30.0


class Status(msgspec.Struct, frozen=True, rename="kebab"):
    """A line of --json-status-fd."""

    child_pid: int = 0
    exit_code: int | None = None


_line = msgspec.json.Decoder(Status)


class BubblewrapContainer:
    """Thread-safe: kill() and signal() may come from another thread than wait()."""

    def __init__(self, monitor: int, monitor_fd: int, status: int, gate: int) -> None:
        self._monitor = monitor
        self._monitor_fd = monitor_fd
        self._status = status
        self._gate = gate
        """Our copy of the gate's reading end: the byte is still in there if the child never took it."""
        self._first_pid = 0
        self._first_fd = -1
        self._failure: str | None = None
        self._killed = False
        self._exit: Exit | None = None
        self._lock = threading.RLock()

    def found_first_process(self, pid: int) -> None:
        """``pid`` is process 1 of the container. Called once, before the container may run."""
        self._first_fd = os.pidfd_open(pid)
        self._first_pid = pid

    def fail(self, reason: str) -> None:
        self._failure = reason
        self.kill()

    def signal(self, number: int) -> None:
        with self._lock:
            if self._exit is None:
                with contextlib.suppress(OSError):
                    self._signal_main(number)

    def _signal_main(self, number: int) -> None:
        """Process 1 only reaps; the program is its first child."""
        children = Path(f"/proc/{self._first_pid}/task/{self._first_pid}/children").read_text().split()
        if not children:
            return
        main = os.pidfd_open(int(children[0]))
        try:
            stat = Path(f"/proc/{children[0]}/stat").read_text()
            if int(stat.rpartition(")")[2].split()[1]) == self._first_pid:
                send(main, number)
        finally:
            os.close(main)

    def kill(self) -> None:
        with self._lock:
            if self._exit is not None:
                return
            self._killed = True
            if self._first_fd >= 0:
                send(self._first_fd, signal.SIGKILL)
            else:
                send(self._monitor_fd, signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> Exit | None:
        with self._lock:
            if self._exit is not None:
                return self._exit
            monitor = self._monitor_fd
        if not wait_readable(monitor, timeout):
            return None
        with self._lock:
            if self._exit is None:
                self._exit = self._finish()
            return self._exit

    def _finish(self) -> Exit:
        code = reap(self._monitor_fd)
        failure = self._failure
        if self._first_fd >= 0:
            # The monitor ends with the program; what the program left behind dies with process 1.
            send(self._first_fd, signal.SIGKILL)
            if not await_orphan(self._first_fd, _DEATH_SECONDS):
                failure = f"processes of the container did not die within {_DEATH_SECONDS:.0f} seconds"
        told = self._told_code()
        gate_passed = self._first_fd >= 0 and not wait_readable(self._gate, 0)
        self._close()
        if failure is not None:
            return Exit(125, node_error=failure)
        if told is not None:
            return Exit(told)
        if self._killed or (gate_passed and code is not None and code > 128):
            return Exit(128 + signal.SIGKILL)  # before bwrap could tell anything
        if gate_passed:
            return Exit(
                126, start_error="cannot start: the kernel refused to execute the program; see the log"
            )
        return Exit(125, node_error=f"bubblewrap ended with {code} before the program ran; see the job's log")

    def _told_code(self) -> int | None:
        """bwrap's own word on the program's exit code: missing when no program was executed."""
        told = b""
        while wait_readable(self._status, 0) and (more := os.read(self._status, 4096)):
            told += more
        for line in told.splitlines():
            code = _line.decode(line).exit_code
            if code is not None:
                return code
        return None

    def _close(self) -> None:
        for fd in (self._monitor_fd, self._first_fd, self._status, self._gate):
            if fd >= 0:
                os.close(fd)
