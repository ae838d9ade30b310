"""The arithmetic behind the control plane's figures."""

import pytest
from bench.control_plane.load_agent import Drain
from bench.control_plane.measure import growth_per_job
from bench.control_plane.turns import Turn, summed_up
from hypothesis import given
from hypothesis import strategies as st

from openhtc.bench.figures import milliseconds, percentile, spread
from openhtc.bench.place import requests_for


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=300), st.sampled_from([1, 50, 95, 99, 100]))
def test_a_percentile_is_the_smallest_value_that_enough_others_do_not_exceed(
    values: list[float], percent: int
) -> None:
    found = percentile(values, percent)
    assert sum(value <= found for value in values) * 100 >= percent * len(values)
    assert sum(value < found for value in values) * 100 < percent * len(values)


def test_times_are_told_in_milliseconds() -> None:
    found = milliseconds([number / 1000 for number in range(1, 101)])
    assert [found[f"p{percent}_ms"] for percent in (50, 95, 99)] == [50, 95, 99]
    assert (found["count"], found["max_ms"]) == (100, 100)


@given(st.integers(1, 1_100_000))
def test_requests_hold_all_jobs_and_keep_to_the_limits(jobs: int) -> None:
    requests = list(requests_for(jobs))
    assert sum(map(sum, requests)) == jobs
    assert all(1 <= size <= 1000 for sizes in requests for size in sizes)
    assert all(len(sizes) == 100 for sizes in requests[:-1])
    assert len(requests[-1]) <= 100


def test_growth_by_relation_adds_up() -> None:
    found = growth_per_job({"jobs": 1000, "tasks": 10}, {"jobs": 9000, "tasks": 10, "jobs_pkey": 4000}, 100)
    assert found == {"total": 120.0, "jobs": 80.0, "jobs_pkey": 40.0}


def test_turns_are_summed_up() -> None:
    turns = [
        Turn(1000, seconds, {"server": cpu, "load": 0.01}) for seconds, cpu in ((1, 0.5), (2, 0.7), (4, 3))
    ]
    found = summed_up(turns)
    assert found["jobs_per_second"] == spread([1000, 500, 250])
    assert found["cpu_us_per_job"] == {"server": 700.0, "load": 10.0}


def test_agents_take_no_more_together_than_is_to_be_drained() -> None:
    course = Drain(100, lambda ended: None)
    assert [course.take(60), course.take(60), course.take(60)] == [60, 40, 0]
    course.done(50, not_leased=10)
    assert (course.take(60), course.ended) == (10, 50)
    course.errors.append(ValueError())
    course.done(40, not_leased=40)
    assert course.take(60) == 0, "what went wrong for one agent ends the others"


def test_a_percentile_of_nothing_is_an_error() -> None:
    with pytest.raises(IndexError):
        percentile([], 50)
