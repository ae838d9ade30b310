"""Which entries a list of dimensions may have."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openhtc.domain.dimensions import (
    MAX_ENTRIES,
    MAX_MACHINE_TYPE,
    Environment,
    ScalingProfile,
    check_entries,
    compatible,
)
from openhtc.domain.enums import Priority
from openhtc.domain.errors import InvalidRequest
from openhtc.domain.regions import Region

ECONOMY, URGENT = Priority.ON_DEMAND_ECONOMY, Priority.ON_DEMAND_PRIORITY
HERE, THERE = Region.AWS_US_WEST_2, Region.GCP_US_EAST_1

environments = st.builds(
    Environment,
    machine_type=st.sampled_from([None, "small", "large"]),
    priority=st.sampled_from([None, *Priority]),
    region=st.sampled_from([None, HERE, THERE]),
    scaling_policy=st.sampled_from([None, *ScalingProfile]),
    hyperthreading=st.sampled_from([None, True, False]),
)


def refusal(entries: list[Environment], available: list[Environment]) -> str:
    with pytest.raises(InvalidRequest) as refused:
        check_entries(entries, available)
    return refused.value.message


def test_without_a_list_of_the_workspace_everything_may_be_asked_for() -> None:
    check_entries([Environment(), Environment("large", ECONOMY, THERE, None, True)], [])
    check_entries([], [Environment("small")])


def test_the_entry_and_the_member_are_named() -> None:
    available = [Environment("small"), Environment("medium", priority=ECONOMY)]
    assert refusal([Environment("small"), Environment("large")], available) == (
        "[1].machineType: large is in no entry of the workspace's dimensions, which allow medium, small"
    )
    only = [Environment(region=HERE, hyperthreading=False)]
    assert refusal([Environment(region=THERE)], only) == (
        "[0].region: GCP_US_EAST_1 is in no entry of the workspace's dimensions, which allow AWS_US_WEST_2"
    )
    assert "[0].hyperthreading: true is in no entry" in refusal([Environment(hyperthreading=True)], only)
    assert "[0].priority: ON_DEMAND_PRIORITY is in no entry" in refusal(
        [Environment(priority=URGENT)], [Environment(priority=ECONOMY)]
    )


def test_members_that_only_different_entries_allow_are_named_together() -> None:
    available = [Environment("small", region=HERE), Environment("large", region=THERE)]
    check_entries([Environment("small"), Environment("large", region=THERE)], available)
    assert refusal([Environment("small", region=THERE)], available) == (
        "[0]: no single entry of the workspace's dimensions allows machineType small, region GCP_US_EAST_1 together"
    )


def test_the_scaling_policy_restricts_nothing() -> None:
    check_entries(
        [Environment(scaling_policy=ScalingProfile.OPTIMIZE_UTILIZATION)],
        [Environment("small", scaling_policy=ScalingProfile.BALANCED)],
    )


@pytest.mark.parametrize("name", ["", "x" * (MAX_MACHINE_TYPE + 1), "a\0b", "a\nb", "\x7f"])
def test_machine_types_are_texts_that_can_be_shown(name: str) -> None:
    check_entries([Environment("x" * MAX_MACHINE_TYPE)], [])
    assert "[1].machineType: " in refusal([Environment(), Environment(name)], [])


def test_a_list_has_a_limit() -> None:
    check_entries([Environment()] * MAX_ENTRIES, [])
    assert refusal([Environment()] * (MAX_ENTRIES + 1), []) == (
        "the body has 101 entries, at most 100 are allowed"
    )


@given(environments, environments)
def test_compatible_means_that_nothing_is_named_differently(one: Environment, other: Environment) -> None:
    members = ("machine_type", "priority", "region", "hyperthreading")
    pairs = [(getattr(one, name), getattr(other, name)) for name in members]
    expected = all(a is None or b is None or a == b for a, b in pairs)
    assert compatible(one, other) is compatible(other, one) is expected
