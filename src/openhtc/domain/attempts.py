"""What the end of an attempt means for its job: terminal, or back to the queue."""

import msgspec

from openhtc.domain.enums import FailureCode, Outcome

MAX_LOSSES = 10
"""Attempts of one job that may be lost with their node before the job is taken for the cause."""

CANCELLED_REASON = "Cancelled by user"

_FAILURES = {
    Outcome.EXITED: FailureCode.NON_ZERO_EXIT,
    Outcome.TIMED_OUT: FailureCode.TIMEOUT,
    Outcome.OUT_OF_MEMORY: FailureCode.NOT_ENOUGH_MEMORY,
    Outcome.DISK_FULL: FailureCode.UNKNOWN_FAILURE,
    Outcome.CANNOT_START: FailureCode.STARTING_CONTAINER,
    Outcome.NODE_LOST: FailureCode.INSTANCE_TERMINATION,
    Outcome.NODE_FAULT: FailureCode.INFRASTRUCTURE_FAULT,
}

_RETRIED = (Outcome.EXITED, Outcome.OUT_OF_MEMORY, Outcome.DISK_FULL, Outcome.CANNOT_START)
_LOSSES = (Outcome.NODE_LOST, Outcome.NODE_FAULT)


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """Where the job goes. ``failure`` is set when it ends FAILED for a reason other than a cancellation."""

    succeeded: bool
    requeue: bool
    failure: FailureCode | None
    reason: str | None
    failures: int
    losses: int


def judge(
    outcome: Outcome,
    exit_code: int | None,
    reason: str | None,
    *,
    cancelled: bool,
    failures: int,
    losses: int,
    max_retries: int,
) -> Verdict:
    """Decide after one attempt; ``failures`` and ``losses`` count the former ones of the job.

    Failures of the program or its start use up retries; a time-out and a cancellation are never retried;
    what the node did is repeated without using up a retry, MAX_LOSSES times; what was handed back or had to make
    room is repeated as often as that happens.
    """
    if outcome is Outcome.EXITED and exit_code == 0:
        return Verdict(True, False, None, reason or "Completed", failures, losses)
    if cancelled or outcome is Outcome.CANCELLED:
        return Verdict(False, False, None, CANCELLED_REASON, failures, losses)
    if outcome in (Outcome.HANDED_BACK, Outcome.PREEMPTED):
        return Verdict(False, True, None, reason, failures, losses)
    if outcome in _LOSSES:
        losses += 1
        again = losses < MAX_LOSSES
    else:
        failures += 1
        again = outcome in _RETRIED and failures <= max_retries
    said = reason or _default_reason(outcome, exit_code)
    return Verdict(False, again, None if again else _FAILURES[outcome], said, failures, losses)


def _default_reason(outcome: Outcome, exit_code: int | None) -> str:
    if outcome is Outcome.EXITED:
        return f"The program exited with code {exit_code}"
    if outcome is Outcome.NODE_LOST:
        return "The node was lost"
    return outcome.value.replace("_", " ").capitalize()
