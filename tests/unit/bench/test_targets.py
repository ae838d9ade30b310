"""The table of `make bench`: every figure is looked up where a step puts it."""

import pytest
from bench.end_to_end.hyperqueue import Course
from bench.steps import STEPS
from bench.targets import TARGETS, Target, print_table


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.what)
def test_every_target_belongs_to_a_step(target: Target) -> None:
    assert target.path[0] in STEPS


def test_names_tell_targets_apart() -> None:
    assert len({target.what for target in TARGETS}) == len(TARGETS)


def test_missed_targets_are_counted_and_those_not_measured_are_not() -> None:
    figures = {
        "against": {"ratio": {"HyperQueue": {"median": 0.99}, "runc": {"median": 10.0}}},
        "bytes": {"settled": {"total": 201}},
    }
    assert print_table(figures) == 2
    assert print_table({}) == 0


@pytest.mark.parametrize(
    ("kind", "met"), [("at least", [False, True, True]), ("at most", [True, True, False])]
)
def test_a_goal_itself_is_met(kind: str, met: list[bool]) -> None:
    target = Target("what", ("step",), kind, 5.0)  # type: ignore[arg-type]
    assert [target.is_met(figure) for figure in (4.9, 5.0, 5.1)] == met


def test_the_end_of_a_run_that_is_looked_at_once_a_second_is_reckoned() -> None:
    course = Course()
    course._seen = [(0.0, 0), (1.0, 400), (2.0, 800), (3.0, 1000)]
    assert course.seconds(1000) == pytest.approx(2.5)
    course._seen = [(0.0, 0), (1.0, 1000)]
    assert course.seconds(1000) == 1.0
