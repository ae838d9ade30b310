"""Which process is meant, beyond its pid.

A pid alone can name another program after a restart; together with the time the process started
(field 22 of /proc/PID/stat, in clock ticks since boot) and the boot it belongs to it cannot.
"""

import os
import select
import signal
import time
from dataclasses import dataclass
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """One process of one boot of this machine."""

    pid: int
    started: int
    boot: str

    def is_alive(self) -> bool:
        """True while the process runs; a zombie has ended."""
        return process_identity(self.pid) == self

    def signal(self, number: int) -> bool:
        """Send a signal; False when the process has ended already.

        The check and the signal go through one pidfd, so a pid used again in between is never hit.
        """
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            if not self.is_alive():
                return False
            signal.pidfd_send_signal(descriptor, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(descriptor)
        return True

    def wait_gone(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds for the end of the process; True when it has ended."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return True
        try:
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            deadline = time.monotonic() + timeout
            while self.is_alive():
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                poll.poll(left * 1000)
        finally:
            os.close(descriptor)
        return True


def process_identity(pid: int) -> ProcessIdentity | None:
    """The identity of the process that has this pid now; None when there is none or it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        boot = BOOT_ID.read_text().strip()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the name before it can hold anything, spaces included
    if fields[0] in ("Z", "X"):
        return None
    return ProcessIdentity(pid=pid, started=int(fields[19]), boot=boot)
