"""Which jobs go to a node."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from openhtc.domain.placement import Waiting, choose, fits
from openhtc.domain.work import Capacity

LARGE = Capacity(1000, 10**6, 10**5)
SMALL_JOB = Capacity(1, 100, 0)


def waiting(batch: int, project: str = "p", jobs: int = 100, priority: int = 0, **needs: int) -> Waiting:
    return Waiting(
        batch,
        project,
        priority,
        jobs,
        Capacity(needs.get("vcpus", 1), needs.get("memory", 100), needs.get("disk", 0)),
    )


def test_the_scarcest_resource_decides_what_fits() -> None:
    assert fits(Capacity(2, 100, 1), Capacity(10, 1000, 3)) == 3
    assert fits(Capacity(2, 100, 1), Capacity(10, 250, 30)) == 2
    assert fits(Capacity(3, 100, 0), Capacity(10, 1000, 0)) == 3
    assert fits(Capacity(1, 100, 1), Capacity(0, 1000, 10)) == 0


def test_nothing_waits() -> None:
    assert choose([], {}, LARGE, 10) == []


def test_a_single_project_gets_its_oldest_batch_first() -> None:
    found = choose([waiting(7, jobs=5), waiting(3, jobs=4)], {}, LARGE, 6)
    assert dict(found) == {3: 4, 7: 2}


def test_priority_goes_before_age_and_before_fairness() -> None:
    economy, urgent = waiting(1, "a", priority=1), waiting(9, "b", priority=0, jobs=3)
    assert dict(choose([economy, urgent], {"b": 10**6}, LARGE, 5)) == {9: 3, 1: 2}


def test_invariant_7_a_project_that_holds_less_goes_first() -> None:
    found = choose([waiting(1, "busy"), waiting(2, "idle")], {"busy": 500}, LARGE, 8)
    assert dict(found) == {2: 8}


def test_invariant_7_two_projects_share_a_node() -> None:
    found = dict(choose([waiting(1, "a"), waiting(2, "b")], {}, LARGE, 40))
    assert sum(found.values()) == 40
    assert abs(found[1] - found[2]) <= 10


def test_invariant_7_two_projects_share_a_node_that_is_smaller_than_the_bundle() -> None:
    found = dict(choose([waiting(1, "a"), waiting(2, "b")], {}, Capacity(8, 10**5, 100), 1000))
    assert sum(found.values()) == 8
    assert abs(found[1] - found[2]) <= 2


def test_a_job_that_does_not_fit_does_not_hide_one_that_does() -> None:
    assert dict(choose([waiting(1, vcpus=64), waiting(2)], {}, Capacity(4, 1000, 0), 10)) == {2: 4}


batches = st.lists(
    st.builds(
        Waiting,
        batch=st.integers(1, 50),
        project=st.sampled_from("abc"),
        priority=st.integers(0, 1),
        jobs=st.integers(1, 30),
        needs=st.builds(Capacity, st.integers(1, 8), st.integers(4, 500), st.integers(0, 20)),
    ),
    max_size=8,
    unique_by=lambda item: item.batch,
)
room = st.builds(Capacity, st.integers(0, 40), st.integers(0, 4000), st.integers(0, 100))
held = st.dictionaries(st.sampled_from("abc"), st.integers(0, 100))


@given(batches, held, room, st.integers(0, 60))
def test_never_more_than_is_free_waits_or_is_asked_for(
    items: list[Waiting], active: dict[str, int], free: Capacity, most: int
) -> None:
    found = choose(items, active, free, most)
    by_batch = {item.batch: item for item in items}
    assert len({batch for batch, _ in found}) == len(found)
    assert all(0 < n <= by_batch[batch].jobs for batch, n in found)
    assert sum(n for _, n in found) <= most
    for name in ("vcpus", "memory_mib", "disk_gib"):
        assert sum(n * getattr(by_batch[b].needs, name) for b, n in found) <= getattr(free, name)


@given(batches, held, room, st.integers(0, 60), st.randoms())
def test_the_choice_depends_on_nothing_but_its_arguments(
    items: list[Waiting], active: dict[str, int], free: Capacity, most: int, random: object
) -> None:
    shuffled = list(items)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert choose(items, active, free, most) == choose(shuffled, dict(active), free, most)


@given(batches, held, room, st.integers(1, 60))
def test_nothing_that_still_fits_is_left_behind(
    items: list[Waiting], active: dict[str, int], free: Capacity, most: int
) -> None:
    found = dict(choose(items, active, free, most))
    left = most - sum(found.values())
    rest = free
    for item in items:
        n = found.get(item.batch, 0)
        rest = Capacity(
            rest.vcpus - n * item.needs.vcpus,
            rest.memory_mib - n * item.needs.memory_mib,
            rest.disk_gib - n * item.needs.disk_gib,
        )
    unserved = [replace(item, jobs=item.jobs - found.get(item.batch, 0)) for item in items]
    assert left == 0 or all(item.jobs == 0 or fits(item.needs, rest) == 0 for item in unserved)
