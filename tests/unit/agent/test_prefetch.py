"""How much work a node asks for."""

import pytest

from openhtc.agent.prefetch import MAX_AHEAD_PER_SLOT, JobSeconds, Load, stock, wanted
from openhtc.domain.work import Capacity


def load(
    *, running: int = 0, queued: int = 0, seconds: float | None = None, slots: int = 4, memory: int = 4000
) -> Load:
    return Load(
        capacity=Capacity(slots, memory, 100),
        running=Capacity(running, running * 100, 0),
        queued=Capacity(queued, queued * 100, 0),
        running_jobs=running,
        queued_jobs=queued,
        typical=Capacity(1, 100, 0),
        job_seconds=seconds,
        slots=slots,
    )


def test_an_idle_node_asks_for_all_it_has() -> None:
    want = wanted(load())
    assert want is not None
    assert (want.free, want.max_jobs, want.ahead) == (Capacity(4, 4000, 100), 4, 0)


def test_a_partly_used_node_asks_for_the_rest() -> None:
    want = wanted(load(running=3, queued=0, seconds=60))
    assert want is not None
    assert (want.free.vcpus, want.max_jobs, want.ahead) == (1, 1, 0)


def test_a_full_node_with_long_jobs_asks_for_nothing() -> None:
    assert wanted(load(running=4, seconds=3.1)) is None
    assert wanted(load(running=4, seconds=None)) is None


def test_a_full_node_with_short_jobs_asks_for_a_second_of_work() -> None:
    want = wanted(load(running=4, seconds=0.1))
    assert want is not None
    assert (want.max_jobs, want.ahead, want.free) == (40, 40, Capacity(40, 4000, 0))


@pytest.mark.parametrize("seconds", [0.9, 1.0, 2.9])
def test_of_jobs_of_some_seconds_one_waits_for_each_slot(seconds: float) -> None:
    want = wanted(load(running=4, seconds=seconds))
    assert want is not None
    assert want.max_jobs == 4
    assert wanted(load(running=4, queued=4, seconds=seconds)) is None


def test_the_stock_is_bounded() -> None:
    assert stock(load(running=4, seconds=0.0001)) == 4 * MAX_AHEAD_PER_SLOT


def test_a_stock_that_is_more_than_half_full_is_not_refilled() -> None:
    assert wanted(load(running=4, queued=21, seconds=0.1)) is None
    want = wanted(load(running=4, queued=20, seconds=0.1))
    assert want is not None
    assert want.max_jobs == 20


def test_without_memory_nothing_is_asked_for() -> None:
    assert wanted(load(running=2, memory=200, seconds=60)) is None


AGES = [
    ([], 0.1),
    ([0.01, 0.01], 0.1),
    ([10.0, 8.0], 8.0),
    ([60.0, 0.01], 0.1),
    ([5.0, 5.0, 0.0], 5.0),
]


@pytest.mark.parametrize(("ages", "expected"), AGES)
def test_when_most_running_jobs_last_longer_the_estimate_rises(ages: list[float], expected: float) -> None:
    seconds = JobSeconds()
    assert seconds.estimate(ages) is None
    seconds.ended(0.1)
    assert seconds.estimate(ages) == pytest.approx(expected)


def test_the_average_follows() -> None:
    seconds = JobSeconds()
    for _ in range(50):
        seconds.ended(0.1)
    for _ in range(50):
        seconds.ended(2.0)
    estimate = seconds.estimate([])
    assert estimate is not None
    assert 1.9 < estimate <= 2.0
