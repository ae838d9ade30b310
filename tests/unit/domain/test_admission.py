"""Which held jobs are released."""

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from openhtc.domain.admission import Held, Room, release

EVERYTHING = 10**6
NO_LIMIT = Room(0, None)


def test_as_many_as_the_project_has_room_for() -> None:
    held = [Held(1, "p", 0, 20, 1)]
    assert release(held, {"p": Room(0, 4)}, NO_LIMIT, EVERYTHING) == [(1, 4)]
    assert release(held, {"p": Room(3, 4)}, NO_LIMIT, EVERYTHING) == [(1, 1)]
    assert release(held, {"p": Room(9, 4)}, NO_LIMIT, EVERYTHING) == []


def test_everything_without_a_limit() -> None:
    held = [Held(1, "p", 0, 20, 3), Held(2, "q", 0, 30, 64)]
    assert dict(release(held, {"p": NO_LIMIT, "q": NO_LIMIT}, NO_LIMIT, EVERYTHING)) == {1: 20, 2: 30}


def test_a_limit_of_0_holds_everything() -> None:
    assert release([Held(1, "p", 0, 1, 1)], {"p": Room(0, 0)}, NO_LIMIT, EVERYTHING) == []
    assert release([Held(1, "p", 0, 1, 1)], {"p": NO_LIMIT}, Room(0, 0), EVERYTHING) == []


def test_priority_goes_before_age() -> None:
    held = [Held(1, "p", 1, 5, 1), Held(2, "p", 0, 5, 1)]
    assert dict(release(held, {"p": Room(0, 7)}, NO_LIMIT, EVERYTHING)) == {2: 5, 1: 2}


def test_a_large_job_waits_for_room_and_is_not_overtaken_in_its_project() -> None:
    held = [Held(1, "p", 0, 1, 4), Held(2, "p", 0, 9, 1)]
    assert release(held, {"p": Room(2, 4)}, NO_LIMIT, EVERYTHING) == []
    assert dict(release(held, {"p": Room(0, 5)}, NO_LIMIT, EVERYTHING)) == {1: 1, 2: 1}


def test_a_job_that_never_fits_is_in_nobodys_way() -> None:
    held = [Held(1, "p", 0, 1, 8), Held(2, "p", 0, 9, 1)]
    assert release(held, {"p": Room(0, 4)}, NO_LIMIT, EVERYTHING) == [(2, 4)]
    assert release(held, {"p": NO_LIMIT}, Room(0, 4), EVERYTHING) == [(2, 4)]


def test_a_full_project_waits_alone() -> None:
    held = [Held(1, "p", 0, 9, 1), Held(2, "q", 0, 9, 1)]
    rooms = {"p": Room(4, 4), "q": Room(4, 10)}
    assert release(held, rooms, Room(8, 100), EVERYTHING) == [(2, 6)]


def test_the_workspaces_room_is_shared_evenly() -> None:
    held = [Held(1, "p", 0, 1000, 1), Held(2, "q", 0, 10, 1)]
    shares = dict(release(held, {"p": NO_LIMIT, "q": NO_LIMIT}, Room(0, 20), EVERYTHING))
    assert shares == {1: 10, 2: 10}


def test_small_jobs_of_others_do_not_keep_a_large_one_out() -> None:
    """The project with nothing active is next; until its large job fits, the other one does not go on."""
    held = [Held(1, "small", 0, 100, 1), Held(2, "large", 0, 1, 8)]
    rooms = {"small": Room(3, None), "large": NO_LIMIT}
    assert release(held, rooms, Room(3, 8), EVERYTHING) == []
    assert dict(release(held, {"small": NO_LIMIT, "large": NO_LIMIT}, Room(0, 8), 1)) == {1: 1}


def test_a_page_has_an_end() -> None:
    held = [Held(1, "p", 0, 1000, 1), Held(2, "q", 0, 1000, 1)]
    assert sum(n for _, n in release(held, {"p": NO_LIMIT, "q": NO_LIMIT}, NO_LIMIT, 100)) == 100


LIMITS = st.none() | st.integers(0, 40)
BATCHES = st.lists(
    st.tuples(st.sampled_from("pqr"), st.integers(0, 1), st.integers(1, 30), st.integers(1, 12)), max_size=12
)


@given(BATCHES, st.fixed_dictionaries({p: st.tuples(st.integers(0, 30), LIMITS) for p in "pqr"}), LIMITS)
def test_invariant_5_no_limit_is_ever_exceeded_and_room_is_used(
    batches: list[tuple[str, int, int, int]], facts: dict[str, tuple[int, int | None]], limit: int | None
) -> None:
    held = [Held(no, *facts_of) for no, facts_of in enumerate(batches)]
    rooms = {project: Room(*room) for project, room in facts.items()}
    workspace = Room(sum(room.active for room in rooms.values()), limit)
    shares = release(held, rooms, workspace, EVERYTHING)
    taken: defaultdict[str, int] = defaultdict(int)
    left = {item.batch: item for item in held}
    for batch, n in shares:
        item = left[batch]
        assert 0 < n <= item.jobs
        taken[item.project] += n * item.vcpus
    for project, room in rooms.items():
        assert taken[project] == 0 or room.limit is None or room.active + taken[project] <= room.limit
    total = sum(taken.values())
    assert total == 0 or limit is None or workspace.active + total <= limit
    if limit is None:
        given = dict(shares)
        for project, room in rooms.items():
            after = Room(room.active + taken[project], room.limit)
            waiting = [
                item
                for item in sorted(held, key=lambda item: (item.priority, item.batch))
                if item.project == project
                and given.get(item.batch, 0) < item.jobs
                and not room.never(item.vcpus)
            ]
            assert not waiting or after.fits(waiting[0].vcpus) == 0
