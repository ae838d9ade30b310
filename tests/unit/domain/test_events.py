"""A job's history, derived from times."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from openhtc.domain.enums import JobStatus
from openhtc.domain.events import AttemptTimes, derive

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


def test_a_job_that_just_runs() -> None:
    attempt = AttemptTimes(at(0), at(1), at(2), at(3), "Completed", 0, "node")
    events = derive(at(0), [attempt], JobStatus.SUCCEEDED, False)
    assert [(event.status, event.at) for event in events] == [
        (JobStatus.SUBMITTED_TO_RESCALE, at(0)),
        (JobStatus.RUNNABLE, at(0) + timedelta(microseconds=1)),
        (JobStatus.STARTING, at(1)),
        (JobStatus.RUNNING, at(2)),
        (JobStatus.SUCCEEDED, at(3)),
    ]
    assert (events[-1].reason, events[-1].exit_code, events[-1].node) == ("Completed", 0, "node")
    assert [event.reason for event in events[:-1]] == [None] * 4


def test_a_retry_says_why() -> None:
    first = AttemptTimes(at(0), at(1), at(2), at(3), "exited with 5", 5, "one")
    second = AttemptTimes(at(3), at(4), None, None, node="two")
    events = derive(at(0), [first, second], None, False)
    assert [event.status for event in events[2:]] == [
        JobStatus.STARTING,
        JobStatus.RUNNING,
        JobStatus.RUNNABLE,
        JobStatus.STARTING,
    ]
    again = events[4]
    assert (again.at, again.reason, again.exit_code, again.node) == (at(3), "exited with 5", 5, "one")


def test_a_cancelled_job_that_never_ran() -> None:
    attempt = AttemptTimes(at(0), None, None, at(9), "Cancelled by user")
    events = derive(at(0), [attempt], JobStatus.FAILED, True)
    assert [event.status for event in events] == [
        JobStatus.SUBMITTED_TO_RESCALE,
        JobStatus.RUNNABLE,
        JobStatus.FAILED,
    ]
    assert [event.cancelled for event in events] == [False, False, True]


moments = st.integers(0, 5).map(at)
times = st.builds(
    AttemptTimes,
    st.none() | moments,
    st.none() | moments,
    st.none() | moments,
    st.none() | moments,
    st.none() | st.text(max_size=3),
)


@given(
    moments,
    st.lists(times, max_size=4),
    st.sampled_from([None, JobStatus.SUCCEEDED, JobStatus.FAILED]),
    st.booleans(),
)
def test_times_increase_strictly_whatever_was_recorded(
    created: datetime, attempts: list[AttemptTimes], final: JobStatus | None, cancelled: bool
) -> None:
    events = derive(created, attempts, final, cancelled)
    assert all(one.at < two.at for one, two in pairwise(events))
    assert events[0].status is JobStatus.SUBMITTED_TO_RESCALE
    assert all(not event.status.is_terminal for event in events[:-1])
    more = derive(created, [*attempts, AttemptTimes(at(9), None, None, None)], None, False)
    unfinished = [event for event in events if not event.status.is_terminal]
    assert more[: len(unfinished)] == unfinished, "what was shown once does not change when more happens"
