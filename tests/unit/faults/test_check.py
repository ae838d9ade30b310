"""What the ledger shows of two executions at once."""

from faults.check import two_at_once
from faults.ledger import Told

JOB = "b:1"


def told(*attempts: tuple[int, float, float | None]) -> Told:
    """Attempts with when they began and when they had done their work."""
    found = Told()
    for attempt, begin, end in attempts:
        found.begins[attempt][f"x{begin}"] = begin
        if end is not None:
            found.ends[attempt][f"x{begin}"] = end
    return found


def test_one_after_the_other_is_right() -> None:
    assert list(two_at_once(JOB, told((1, 10, 11), (2, 12, None), (3, 13, 14)), [])) == []


def test_an_attempt_that_ends_after_a_later_one_began_is_named() -> None:
    (found,) = two_at_once(JOB, told((1, 10, 15.5), (2, 12, 13)), [])
    assert found == "b:1, attempt 1, ended 3.5 s after a later one had begun"


def test_the_same_attempt_twice_is_no_later_one() -> None:
    assert list(two_at_once(JOB, told((1, 10, 15), (1, 12, 16)), [])) == []


def test_a_node_that_nobody_could_hear_is_excused_for_that_time_only() -> None:
    both = told((1, 10, 15.5), (2, 12, 13))
    assert list(two_at_once(JOB, both, [(9.0, 14.5)])) == []
    assert len(list(two_at_once(JOB, both, [(1.0, 5.0), (30.0, 40.0)]))) == 1
