"""What the end of an attempt means for its job, as a table."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openhtc.domain.attempts import CANCELLED_REASON, MAX_LOSSES, Verdict, judge
from openhtc.domain.enums import FailureCode, Outcome

PROGRAM_FAILURES = {
    Outcome.EXITED: FailureCode.NON_ZERO_EXIT,
    Outcome.OUT_OF_MEMORY: FailureCode.NOT_ENOUGH_MEMORY,
    Outcome.DISK_FULL: FailureCode.UNKNOWN_FAILURE,
    Outcome.CANNOT_START: FailureCode.STARTING_CONTAINER,
}
NODE_FAILURES = {
    Outcome.NODE_LOST: FailureCode.INSTANCE_TERMINATION,
    Outcome.NODE_FAULT: FailureCode.INFRASTRUCTURE_FAULT,
}


def verdict(
    outcome: Outcome,
    code: int | None = None,
    *,
    cancelled: bool = False,
    failures: int = 0,
    losses: int = 0,
    max_retries: int = 0,
    reason: str | None = None,
) -> Verdict:
    return judge(
        outcome,
        code,
        reason,
        cancelled=cancelled,
        failures=failures,
        losses=losses,
        max_retries=max_retries,
    )


@pytest.mark.parametrize("cancelled", [False, True])
def test_exit_code_0_is_success_even_when_a_cancel_came_too_late(cancelled: bool) -> None:
    found = verdict(Outcome.EXITED, 0, cancelled=cancelled)
    assert (found.succeeded, found.requeue, found.failure, found.reason) == (True, False, None, "Completed")


@pytest.mark.parametrize(("outcome", "code"), PROGRAM_FAILURES.items())
def test_a_program_that_fails_is_repeated_as_often_as_asked(outcome: Outcome, code: FailureCode) -> None:
    for failures in range(3):
        found = verdict(outcome, 7, failures=failures, max_retries=3)
        assert (found.requeue, found.failure, found.failures) == (True, None, failures + 1)
    found = verdict(outcome, 7, failures=3, max_retries=3)
    assert (found.succeeded, found.requeue, found.failure) == (False, False, code)


@pytest.mark.parametrize("outcome", PROGRAM_FAILURES)
def test_without_retries_the_first_failure_is_the_last(outcome: Outcome) -> None:
    assert not verdict(outcome, 1).requeue


def test_a_time_out_is_never_repeated() -> None:
    found = verdict(Outcome.TIMED_OUT, max_retries=10)
    assert (found.requeue, found.failure) == (False, FailureCode.TIMEOUT)


@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome])
def test_a_cancelled_job_is_never_repeated_and_has_no_failure_code(outcome: Outcome) -> None:
    found = verdict(outcome, 1, cancelled=True, max_retries=10)
    assert (found.succeeded, found.requeue, found.failure) == (False, False, None)
    assert found.reason == CANCELLED_REASON


def test_an_attempt_that_was_stopped_ends_its_job() -> None:
    found = verdict(Outcome.CANCELLED, max_retries=10)
    assert (found.requeue, found.failure, found.reason) == (False, None, CANCELLED_REASON)


@pytest.mark.parametrize(("outcome", "code"), NODE_FAILURES.items())
def test_invariant_6_what_the_node_did_uses_up_no_retry(outcome: Outcome, code: FailureCode) -> None:
    found = verdict(outcome, failures=2, losses=MAX_LOSSES - 2, max_retries=2)
    assert (found.requeue, found.failures, found.losses) == (True, 2, MAX_LOSSES - 1)
    last = verdict(outcome, failures=2, losses=MAX_LOSSES - 1, max_retries=2)
    assert (last.requeue, last.failure, last.failures) == (False, code, 2)


@pytest.mark.parametrize("outcome", [Outcome.HANDED_BACK, Outcome.PREEMPTED])
def test_invariant_6_handing_back_and_making_room_cost_nothing_at_all(outcome: Outcome) -> None:
    found = verdict(outcome, failures=1, losses=MAX_LOSSES - 1)
    assert (found.requeue, found.failures, found.losses) == (True, 1, MAX_LOSSES - 1)


def test_the_reason_of_the_agent_is_kept_and_there_is_always_one() -> None:
    assert verdict(Outcome.CANNOT_START, reason="no such file: /bin/x").reason == "no such file: /bin/x"
    assert verdict(Outcome.EXITED, 3).reason == "The program exited with code 3"
    for outcome in Outcome:
        if outcome not in (Outcome.HANDED_BACK, Outcome.PREEMPTED):
            assert verdict(outcome, 1).reason


@given(
    st.sampled_from(Outcome),
    st.none() | st.integers(-128, 255),
    st.booleans(),
    st.integers(0, 11),
    st.integers(0, MAX_LOSSES),
    st.integers(0, 10),
)
def test_a_verdict_is_one_of_three_and_counters_never_fall(
    outcome: Outcome, code: int | None, cancelled: bool, failures: int, losses: int, max_retries: int
) -> None:
    found = verdict(
        outcome, code, cancelled=cancelled, failures=failures, losses=losses, max_retries=max_retries
    )
    assert not (found.succeeded and found.requeue)
    assert found.failure is None or not (found.succeeded or found.requeue)
    assert 0 <= found.failures - failures + found.losses - losses <= 1
    assert found.succeeded == (outcome is Outcome.EXITED and code == 0)
