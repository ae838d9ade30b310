"""What the end of an attempt means for its job: terminal, or back to the queue."""

import msgspec

from openhtc.domain.enums import FailureCode, Outcome

MAX_LOSSES = 10
"""Attempts of one job that may be lost with their node before the job is taken for the cause."""

FIRST_REST_SECONDS = 1.0
LONGEST_REST_SECONDS = 60.0

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
    rest_seconds: float = 0.0
    """Before it may be tried again."""


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

    What made an attempt fail may pass, so the next one comes after a second, the one after that after two, and so on
    up to a minute. After a first loss it comes at once, on another node; later ones may be the job's own doing, or the
    node that took it again is the one that is broken.
    """
    if outcome is Outcome.EXITED and exit_code == 0:
        return Verdict(True, False, None, reason or "Completed", failures, losses)
    if cancelled or outcome is Outcome.CANCELLED:
        return Verdict(False, False, None, CANCELLED_REASON, failures, losses)
    if outcome in (Outcome.HANDED_BACK, Outcome.PREEMPTED):
        return Verdict(False, True, None, reason, failures, losses)
    if outcome in _LOSSES:
        losses += 1
        again, rest = losses < MAX_LOSSES, _rest(losses - 1)
    else:
        failures += 1
        again, rest = outcome in _RETRIED and failures <= max_retries, _rest(failures)
    said = reason or _default_reason(outcome, exit_code)
    if again:
        return Verdict(False, True, None, said, failures, losses, rest)
    return Verdict(False, False, _FAILURES[outcome], said, failures, losses)


def _rest(before: int) -> float:
    """After so many that count."""
    return 0.0 if before < 1 else min(LONGEST_REST_SECONDS, FIRST_REST_SECONDS * 2.0 ** (before - 1))


def _default_reason(outcome: Outcome, exit_code: int | None) -> str:
    if outcome is Outcome.EXITED:
        return f"The program exited with code {exit_code}"
    if outcome is Outcome.NODE_LOST:
        return "The node was lost"
    return outcome.value.replace("_", " ").capitalize()
