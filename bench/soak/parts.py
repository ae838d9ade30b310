"""Memory and CPU of the service's parts, sampled while something runs."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from bench.control_plane.measure import cpu_seconds, cpu_seconds_of, tree
from bench.control_plane.stack import PARTS, Stack, StackFailed

SLOT_PROGRAM = "openhtc-slot"
AGENT, SLOTS, JOBS = "agent itself", "slots", "jobs"
_MIB = 1 << 20


def memory_mib(stack: Stack) -> dict[str, float]:
    """What each part's processes take, shared pages once for each sharer's part of them. Jobs do not count."""
    return {part: round(sum(map(_bytes_of, _own(stack.pid(part), part))) / _MIB, 1) for part in PARTS}


def _own(pid: int, part: str) -> list[int]:
    """An agent's jobs are below the programs of its slots, and are not the agent's."""
    return [each for each in tree(pid) if part != "agent" or _role(each) != JOBS]


def _role(pid: int) -> str:
    """What a process below the agent is."""
    try:
        program = Path(f"/proc/{pid}/cmdline").read_bytes().partition(b"\0")[0].decode(errors="replace")
    except OSError:
        return JOBS
    if program.endswith(SLOT_PROGRAM):
        return SLOTS
    return AGENT if "python" in program else JOBS


def _bytes_of(pid: int) -> int:
    """Proportional set size: pages that several processes share are counted once in their sum."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has ended meanwhile
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


class Watch:
    """Peaks of memory and the CPU time of each part from here on; samples twice a second until it is stopped."""

    def __init__(self, stack: Stack, seconds: float = 0.5) -> None:
        self._stack, self._seconds = stack, seconds
        self.before = memory_mib(stack)
        self.peak = dict(self.before)
        self._cpu_before = cpu_seconds(stack)
        self._below_agent: dict[int, tuple[str, float, float]] = {}
        """By process: its role, and the CPU seconds that it had used at first and at last."""
        self._look_below_agent()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> dict[str, float]:
        """CPU seconds of each part; then of what is below the agent, as far as it lived long enough to be seen."""
        self._over.set()
        self._thread.join()
        used = {part: now - self._cpu_before[part] for part, now in cpu_seconds(self._stack).items()}
        for role, first, last in self._below_agent.values():
            used[role] = used.get(role, 0.0) + last - first
        return {part: round(seconds, 2) for part, seconds in used.items()}

    def _run(self) -> None:
        with suppress(StackFailed):  # the service was stopped, which is for others to tell
            while not self._over.wait(self._seconds):
                for part, now in memory_mib(self._stack).items():
                    self.peak[part] = max(self.peak[part], now)
                self._look_below_agent()

    def _look_below_agent(self) -> None:
        """A job that is seen for the first time began a moment ago: all that it used counts."""
        for pid in tree(self._stack.pid("agent")):
            if used := cpu_seconds_of(pid):
                role = _role(pid)
                first = 0.0 if role == JOBS else used
                self._below_agent[pid] = (role, self._below_agent.get(pid, (role, first, used))[1], used)


def wait_until(what: Callable[[], bool], seconds: float, pause: float = 0.05) -> None:
    """Raises TimeoutError when it has not become true."""
    until = time.monotonic() + seconds
    while not what():
        if time.monotonic() > until:
            raise TimeoutError(f"not so within {seconds:g} s")
        time.sleep(pause)
