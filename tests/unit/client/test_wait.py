"""How often a waiting client asks, and when it stops."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openhtc.client.models import Summary
from openhtc.client.wait import MAX_SECONDS, MIN_SECONDS, next_interval, watch
from openhtc.domain.enums import JobStatus


def counts(finished: int, total: int) -> Summary:
    return Summary({JobStatus.SUCCEEDED: finished, JobStatus.RUNNING: total - finished})


class Jobs:
    """Jobs that finish at a constant rate while the watcher's clock moves."""

    def __init__(self, total: int, rate: float) -> None:
        self.total, self.rate, self.now, self.asked = total, rate, 0.0, 0

    def ask(self) -> Summary:
        self.asked += 1
        return counts(min(self.total, int(self.now * self.rate)), self.total)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def watch(self, timeout: float | None = None) -> Iterator[Summary]:
        return watch(self.ask, timeout_seconds=timeout, sleep=self.sleep, clock=lambda: self.now)


def test_a_short_run_is_noticed_quickly() -> None:
    jobs = Jobs(total=10, rate=10)
    seen = list(jobs.watch())
    assert seen[-1].unfinished == 0
    assert jobs.now < 1.5


@pytest.mark.parametrize(("total", "rate"), [(1000, 50), (100_000, 100), (1, 0.01)])
def test_a_long_run_takes_few_questions_and_little_longer_than_it_lasts(total: int, rate: float) -> None:
    jobs = Jobs(total, rate)
    assert list(jobs.watch())[-1].unfinished == 0
    assert jobs.now <= total / rate + MAX_SECONDS
    assert jobs.asked <= 110 + total / rate / MAX_SECONDS


def test_no_jobs_is_no_waiting() -> None:
    jobs = Jobs(0, 1)
    assert len(list(jobs.watch())) == 1


def test_time_out_says_what_was_seen_last() -> None:
    with pytest.raises(TimeoutError, match="5 of 5 jobs are unfinished after 30 s: 5 RUNNING"):
        list(Jobs(5, 0).watch(timeout=30))


@given(st.floats(MIN_SECONDS, MAX_SECONDS), st.integers(0, 50), st.integers(0, 50), st.integers(100, 1000))
def test_the_interval_stays_within_its_bounds(interval: float, first: int, more: int, total: int) -> None:
    found = next_interval(interval, counts(first, total), counts(first + more, total))
    assert MIN_SECONDS <= found <= MAX_SECONDS
