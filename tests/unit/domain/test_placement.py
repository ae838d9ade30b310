"""Which jobs go to a node."""

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from openhtc.domain.placement import Needs, NodeKind, Waiting, choose, fits, obstacle
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


HERE, THERE = "AWS_US_WEST_2", "GCP_US_EAST_1"
BOTH = frozenset({0, 1})


def kind(
    region: str = HERE,
    architecture: str = "X86",
    capacity: Capacity = Capacity(8, 16000, 100),  # noqa: B008 - frozen
    priorities: frozenset[int] = BOTH,
) -> NodeKind:
    return NodeKind(region, architecture, capacity, priorities)


def needs(vcpus: int = 1, memory: int = 100, disk: int = 10, **facts: Any) -> Needs:
    return replace(Needs(HERE, 0, None, Capacity(vcpus, memory, disk)), **facts)


def why(job: Needs, *nodes: NodeKind, strict: bool = False) -> str | None:
    return obstacle(job, nodes, strict=strict)


def test_a_job_that_fits_a_live_node_has_no_obstacle() -> None:
    assert why(needs(8, 16000, 100), kind(THERE), kind()) is None
    assert why(needs(disk=0), kind(capacity=Capacity(1, 100, 0))) is None


def test_a_region_without_nodes() -> None:
    assert why(needs(), kind(THERE)) == "waiting: AWS_US_WEST_2 has no live node"


def test_the_resource_that_no_node_has_is_named() -> None:
    small, large = kind(capacity=Capacity(4, 64000, 10)), kind(capacity=Capacity(16, 32000, 500))
    start = "waiting: no live node of AWS_US_WEST_2 has"
    assert why(needs(64), small, large) == f"{start} 64 vCPUs, the largest has 16"
    assert why(needs(memory=64001), small, large) == f"{start} 64001 MiB of memory, the largest has 64000"
    assert why(needs(disk=501), small, large) == f"{start} 501 GiB of disk, the largest has 500"
    assert why(needs(16, 64000), small, large) == (
        f"{start} 16 vCPUs, 64000 MiB of memory, 10 GiB of disk together"
    )


def test_dimensions_that_leave_no_node() -> None:
    economy = kind(priorities=frozenset({1}))
    assert why(needs(priority=1), economy) is None
    assert why(needs(), economy) == (
        "waiting: the dimensions allow no live node of AWS_US_WEST_2 for jobs of this priority"
    )
    assert why(needs(16), economy, kind(), kind(capacity=Capacity(16, 1, 1), priorities=frozenset())) == (
        "waiting: no live node of AWS_US_WEST_2 that this job may use has 16 vCPUs, the largest has 8"
    )


def test_an_architecture_that_the_region_has_is_waited_for() -> None:
    arm = needs(architecture="AARCH64")
    no_arm = "waiting: no live node of AWS_US_WEST_2 has the architecture AARCH64"
    assert why(arm, kind()) is None, "advisory while there is none"
    assert why(arm, kind(), kind(THERE, "AARCH64")) is None, "those of other regions do not count"
    assert why(arm, kind(), strict=True) == no_arm
    assert why(arm, kind(), kind(architecture="AARCH64", capacity=Capacity(1, 100, 10))) is None
    assert "that this job may use has 2 vCPUs, the largest has 1" in str(
        why(
            needs(2, architecture="AARCH64"),
            kind(),
            kind(architecture="AARCH64", capacity=Capacity(1, 100, 10)),
        )
    )
    closed = kind(architecture="AARCH64", priorities=frozenset())
    assert why(arm, kind(), closed) == f"{no_arm} and is in the dimensions"
