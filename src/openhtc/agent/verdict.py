"""Why an attempt ended. Pure: what was observed goes in, what the user is told comes out."""

from dataclasses import dataclass

from openhtc.agent.runtimes.base import Exit
from openhtc.domain.enums import Outcome
from openhtc.domain.work import BatchWork

KILLED = 128 + 9


@dataclass(frozen=True, slots=True)
class Verdict:
    outcome: Outcome
    exit_code: int | None = None
    reason: str | None = None
    """A sentence for the user; None when outcome and exit code say it all."""
    ran: bool = True
    """The program itself was started."""


def judge(work: BatchWork, end: Exit, *, cause: Outcome | None, oom_kills: int, disk_full: bool) -> Verdict:
    """The verdict on a container that has ended; ``cause`` is as what we stopped it, None if we did not."""
    if end.node_error is not None:
        return Verdict(Outcome.NODE_FAULT, reason=end.node_error, ran=False)
    if end.start_error is not None:
        return Verdict(Outcome.CANNOT_START, end.exit_code, end.start_error, ran=False)
    if cause is not None:
        return Verdict(cause, end.exit_code, stop_reason(work, cause))
    if oom_kills > 0 and end.exit_code == KILLED:
        return Verdict(
            Outcome.OUT_OF_MEMORY, KILLED, f"used more than maxMemory, {work.needs.memory_mib} MiB"
        )
    if disk_full and end.exit_code != 0:
        return Verdict(Outcome.DISK_FULL, end.exit_code, stop_reason(work, Outcome.DISK_FULL))
    return Verdict(Outcome.EXITED, end.exit_code)


def stop_reason(work: BatchWork, cause: Outcome) -> str | None:
    """The sentence for a job that we stopped."""
    if cause is Outcome.TIMED_OUT:
        return f"stopped after {work.exec_timeout_seconds} s, the limit in execTimeoutSeconds"
    if cause is Outcome.DISK_FULL:
        return f"wrote more than maxDiskGiB, {work.needs.disk_gib} GiB"
    if cause is Outcome.CANCELLED:
        return "stopped on request"
    if cause is Outcome.HANDED_BACK:
        return "the node is leaving"
    if cause is Outcome.PREEMPTED:
        return "made room for a job of a higher priority"
    return None
