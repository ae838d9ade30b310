"""Waiting for a process by its descriptor: no signal handler, no polling, no confusion of pids."""

import contextlib
import os
import select
import signal

from openhtc.agent.runtimes.base import Exit


class Ended:
    """A container that never ran: wait() tells why."""

    def __init__(self, exit: Exit) -> None:
        self._exit = exit

    def signal(self, number: int) -> None:
        return

    def kill(self) -> None:
        return

    def wait(self, timeout: float | None = None) -> Exit:
        return self._exit


def cannot_start(reason: str) -> Ended:
    return Ended(Exit(127, start_error=reason))


def node_failure(reason: str) -> Ended:
    return Ended(Exit(125, node_error=reason))


def wait_readable(fd: int, timeout: float | None) -> bool:
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return bool(poller.poll(None if timeout is None else max(0, int(timeout * 1000 + 0.999))))


def send(pidfd: int, number: int) -> None:
    """Signal a process; nothing happens when it has ended."""
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, number)


def reap(pidfd: int) -> int | None:
    """Exit status of a child of ours that has ended, as a shell would show it; None if it was not ours."""
    try:
        result = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    except ChildProcessError:
        return None
    if result is None:
        return None
    return result.si_status if result.si_code == os.CLD_EXITED else 128 + result.si_status


def await_orphan(pidfd: int, timeout: float) -> bool:
    """Wait for the end of a descendant that lost its parent, and reap it if it became our child."""
    if not wait_readable(pidfd, timeout):
        return False
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)
    return True
