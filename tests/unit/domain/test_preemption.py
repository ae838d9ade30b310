"""Which jobs make room: as few as will do, those that lose least, and none for nothing."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from openhtc.domain.placement import fits
from openhtc.domain.preemption import Held, Load, Pressing, by_agent, free_of, recall
from openhtc.domain.work import Capacity

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
FULL = Capacity(0, 100, 100)


def held(lease: int, age: float | None, vcpus: int = 1, memory: int = 1) -> Held:
    return Held(lease, Capacity(vcpus, memory, 0), None if age is None else NOW - timedelta(seconds=age))


def pressing(jobs: int, vcpus: int = 1, agents: tuple[int, ...] = (1,), batch: int = 1) -> Pressing:
    return Pressing(batch, jobs, Capacity(vcpus, 1, 0), frozenset(agents))


def test_the_job_that_loses_least_makes_room() -> None:
    load = Load(1, FULL, [held(1, 100), held(2, 5), held(3, 50)])
    assert recall([pressing(1)], [load], NOW, 100) == [2]
    assert recall([pressing(2)], [load], NOW, 100) == [2, 3]


def test_a_job_that_has_not_begun_loses_nothing() -> None:
    assert recall([pressing(1)], [Load(1, FULL, [held(1, 0.1), held(2, None)])], NOW, 100) == [2]


def test_nothing_is_recalled_for_room_that_is_there_or_coming() -> None:
    load = Load(1, Capacity(2, 100, 0), [held(1, 5), held(2, 5)], coming=True)
    assert recall([pressing(2)], [load], NOW, 100) == []
    assert recall([pressing(3)], [load], NOW, 100) == [1]


def test_room_that_a_node_does_not_use_is_none() -> None:
    """It drains, its disk is low, or it makes a pause after faults."""
    idle, busy = Load(1, Capacity(2, 100, 0), [held(1, 5)]), Load(2, FULL, [held(2, 50)])
    assert recall([pressing(1, agents=(1, 2))], [idle, busy], NOW, 100) == [2]
    assert recall([pressing(1, vcpus=3, agents=(1, 2))], [idle, busy], NOW, 100) == [1]


def test_nothing_is_recalled_where_it_would_not_do() -> None:
    load = Load(1, Capacity(0, 0, 0), [held(1, 5, vcpus=1), held(2, 5, vcpus=1)])
    assert recall([pressing(1, vcpus=3)], [load], NOW, 100) == []


def test_small_jobs_that_left_for_nothing_stay() -> None:
    load = Load(1, FULL, [held(1, 1, vcpus=1), held(2, 9, vcpus=4)])
    assert recall([pressing(1, vcpus=4)], [load], NOW, 100) == [2]


def test_more_is_leased_than_fits() -> None:
    """A node has some jobs in stock: they go first."""
    load = Load(1, Capacity(-1, 100, 0), [held(1, 100), held(2, None)])
    assert recall([pressing(1)], [load], NOW, 100) == [2, 1]


def test_the_node_where_least_is_lost_gives_back() -> None:
    loads = [Load(1, FULL, [held(1, 100)]), Load(2, FULL, [held(2, 10)]), Load(3, FULL, [held(3, 1)])]
    assert recall([pressing(1, agents=(1, 2))], loads, NOW, 100) == [2]


def test_older_batches_come_first_and_the_number_is_bounded() -> None:
    load = Load(1, FULL, [held(n, n) for n in range(1, 9)])
    assert recall([pressing(9, batch=2), pressing(9, batch=1)], [load], NOW, 3) == [1, 2, 3]


def test_by_agent_joins_what_several_agents_may_run() -> None:
    needs = Capacity(1, 1, 0)
    found = by_agent({1: [(7, 3, needs)], 2: [(7, 3, needs), (8, 1, needs)]})
    assert found == [
        Pressing(7, 3, needs, frozenset({1, 2})),
        Pressing(8, 1, needs, frozenset({2})),
    ]


JOBS = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4), st.none() | st.integers(0, 100)), max_size=6)


@given(st.lists(JOBS, min_size=1, max_size=3), st.integers(1, 5), st.integers(1, 4), st.integers(1, 4))
def test_what_is_recalled_makes_room_and_not_more(
    nodes: list[list[tuple[int, int, int | None]]], jobs: int, vcpus: int, memory: int
) -> None:
    """After the recall so many pressing jobs fit as were placed; without any one of the recalled ones, fewer do."""
    capacity, lease = Capacity(6, 6, 0), 0
    loads = []
    for number, items in enumerate(nodes):
        here = [held(lease := lease + 1, age, v, m) for v, m, age in items]
        loads.append(Load(number, free_of(capacity, [job.needs for job in here]), here, coming=True))
    needs = Capacity(vcpus, memory, 0)
    item = Pressing(1, jobs, needs, frozenset(range(len(nodes))))
    gone = recall([item], loads, NOW, 1000)
    assert len(gone) == len(set(gone))

    def room(without: set[int]) -> int:
        total = 0
        for load in loads:
            staying = [job.needs for job in load.held if job.lease not in without]
            total += max(0, fits(needs, free_of(capacity, staying)))
        return min(total, jobs)

    best = room({job.lease for load in loads for job in load.held})
    assert room(set(gone)) == best, "as many fit as could fit at all"
    if len(gone) == 1:
        assert room(set()) < best
