"""One job in a native slot, and what its end means."""

import errno
import os
import signal
import time

from openhtc.agent.account import stopped
from openhtc.agent.held import HeldJob
from openhtc.agent.native.frames import Ended, Stage
from openhtc.agent.native.slot import NativeSlot
from openhtc.agent.output import JobOutput
from openhtc.agent.runtimes import program
from openhtc.agent.runtimes.base import ContainerSpec, Exit
from openhtc.agent.sandbox.ids import IdMap
from openhtc.agent.verdict import KILLED, Verdict, judge
from openhtc.domain.enums import Outcome
from openhtc.domain.work import Usage

_DISK_TROUBLE = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
_MIB = 1 << 20


class Run:
    """A job that was handed to a slot's program. ``signal`` and ``kill`` may be called from any thread."""

    def __init__(self, job: HeldJob, slot: NativeSlot) -> None:
        self.job = job
        self.slot = slot
        self.output: JobOutput | None = None
        """Made with the first output."""
        self.began: float | None = None
        """Monotonic time; None while it is lined up."""
        self.deadline = 0.0
        self.told_started = False
        self.recalled = False
        self.killed_at: float | None = None

    @property
    def lease(self) -> int:
        return self.job.lease.lease

    def begin(self) -> None:
        self.began = time.monotonic()
        self.deadline = self.began + self.job.work.exec_timeout_seconds

    def signal(self, number: int) -> None:
        self.slot.signal(self.lease, number)

    def kill(self) -> None:
        if self.killed_at is None:
            self.killed_at = time.monotonic()
        self.slot.signal(self.lease, signal.SIGKILL)


def verdict_on(job: HeldJob, ended: Ended, spec: ContainerSpec, ids: IdMap) -> Verdict:
    """``spec``: of the job over its image, to find the sentence that explains why it did not start."""
    if ended.stage is Stage.NOT_BEGUN:
        return stopped(job)
    end = Exit(ended.exit_code)
    if ended.stage is Stage.CANNOT_EXECUTE:
        end = Exit(127, start_error=_why_not(ended, spec, ids))
    elif ended.stage is Stage.NO_WORKDIR and ended.error not in _DISK_TROUBLE:
        text = f'the image\'s working directory "{ended.what}" cannot be made: {os.strerror(ended.error)}'
        return Verdict(Outcome.CANNOT_START, reason=text, ran=False)
    elif ended.stage is not Stage.RAN:
        end = Exit(
            125, node_error=f"the node could not set the job up: {ended.what}: {os.strerror(ended.error)}"
        )
    return judge(job.work, end, cause=job.cause, oom_kills=ended.oom_kills, disk_full=ended.disk_full)


def usage_of(ended: Ended) -> Usage | None:
    if ended.stage is not Stage.RAN:
        return None
    return Usage(cpu_ms=ended.cpu_us // 1000, max_memory_mib=-(-ended.peak_bytes // _MIB))


def lost(job: HeldJob, oom_kills: int, reason: str) -> Verdict:
    """On a job whose slot's program ended with it."""
    if oom_kills > 0:
        end = Exit(KILLED)
        return judge(job.work, end, cause=job.cause, oom_kills=oom_kills, disk_full=False)
    return Verdict(Outcome.NODE_FAULT, reason=reason)


def _why_not(ended: Ended, spec: ContainerSpec, ids: IdMap) -> str:
    root = os.open(spec.rootfs, os.O_PATH | os.O_DIRECTORY)
    try:
        if ended.what == "cwd":
            found, what = program.bad_directory(spec, root), f'the working directory "{spec.cwd}"'
        else:
            found, what = program.bad_program(spec, root, ids), f'"{spec.args[0]}"'
    finally:
        os.close(root)
    return found or f"cannot start: {what}: {os.strerror(ended.error)}"
