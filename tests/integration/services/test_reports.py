"""What agents say, early, late, twice and in any order."""

from datetime import timedelta
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openhtc.domain.enums import JobStatus, Outcome
from openhtc.domain.errors import InvalidRequest, OpenhtcError
from openhtc.domain.work import JobReport, LogChunk, Report, Usage
from openhtc.services.clock import from_micros, micros
from openhtc.services.reports import MAX_ITEMS
from openhtc.storage.leasing import Granted

from ..world import LEASE_SECONDS, Batch, World, caller
from .conftest import Core

RUNNABLE, STARTING, RUNNING, SUCCEEDED, FAILED = 2, 3, 4, 5, 6


async def one_job(world: World, **facts: Any) -> tuple[Batch, int, Granted]:
    batch = await world.batch(await world.task(), **facts)
    agent = await world.agent()
    (grant,) = await world.grant(agent, (batch, 1))
    return batch, agent, grant


@given(st.integers(0, 2**52))
def test_times_survive_the_way_there_and_back(value: int) -> None:
    assert micros(from_micros(value)) == value


async def test_a_job_that_runs(world: World) -> None:
    batch, agent, grant = await one_job(world)
    world.clock.step(1)
    await world.report(agent, world.start(grant))
    assert (await world.job(batch))["status"] == RUNNING
    world.clock.step(5)
    end = JobReport(
        grant.lease,
        batch.no,
        0,
        ended_at=world.clock.micros(-1),
        outcome=Outcome.EXITED,
        exit_code=0,
        usage=Usage(1234, 77),
    )
    await world.report(agent, end)
    job = await world.job(batch)
    assert (job["status"], job["exit_code"], job["lease"]) == (SUCCEEDED, 0, None)
    assert (job["cpu_ms"], job["max_memory_mib"]) == (1234, 77)
    assert job["started_at"] - job["leased_at"] == timedelta(seconds=1)
    assert job["ended_at"] - job["started_at"] == timedelta(seconds=4)


async def test_a_start_and_an_end_in_one_report(world: World) -> None:
    batch, agent, grant = await one_job(world)
    world.clock.step(9)
    await world.report(agent, world.start(grant, -5), world.end(grant, exit_code=3, at=-2))
    job = await world.job(batch)
    assert (job["status"], job["exit_code"]) == (FAILED, 3)
    assert job["started_at"] == world.clock.now - timedelta(seconds=5)
    assert job["ended_at"] == world.clock.now - timedelta(seconds=2)


@pytest.mark.parametrize("skew", [-86400, -10, 10, 86400])
async def test_the_clock_of_a_node_is_off(world: World, skew: int) -> None:
    """Times are moved to where they can have been: after the lease, before now, in order."""
    batch, agent, grant = await one_job(world)
    world.clock.step(5)
    await world.report(agent, world.start(grant, skew))
    world.clock.step(5)
    await world.report(agent, world.end(grant, at=skew))
    job = await world.job(batch)
    assert job["queued_at"] <= job["leased_at"] <= job["started_at"] <= job["ended_at"] <= world.clock.now


@pytest.mark.parametrize("moment", [-(10**18), -1, 0, 10**18, 2**63 - 1])
async def test_a_time_that_cannot_be_spoils_no_bundle(world: World, moment: int) -> None:
    batch = await world.batch(await world.task(), 2)
    agent = await world.agent()
    first, second = await world.grant(agent, (batch, 2))
    world.clock.step(1)
    odd = JobReport(first.lease, batch.no, 0, moment, moment, Outcome.EXITED, 0)
    await world.report(agent, odd, world.end(second))
    assert await world.statuses(batch) == [SUCCEEDED, SUCCEEDED]


async def test_the_clock_of_the_server_steps_back(world: World) -> None:
    batch, agent, grant = await one_job(world)
    world.clock.step(-3600)
    await world.report(agent, world.start(grant), world.end(grant, Outcome.HANDED_BACK))
    (again,) = await world.grant(agent, (batch, 1))
    await world.report(agent, world.end(again))
    job = await world.job(batch)
    assert (job["status"], job["attempt"]) == (SUCCEEDED, 2)
    assert job["queued_at"] <= job["leased_at"] <= job["ended_at"]


async def test_retries_until_they_are_used_up(world: World) -> None:
    batch = await world.batch(await world.task(), max_retries=2)
    agent = await world.agent()
    for attempt, expected in ((1, RUNNABLE), (2, RUNNABLE), (3, FAILED)):
        (grant,) = await world.grant(agent, (batch, 1))
        assert grant.attempt == attempt
        await world.report(agent, world.start(grant), world.end(grant, exit_code=attempt))
        assert await world.statuses(batch) == [expected]
        await world.end_rests()
    job = await world.job(batch)
    assert (job["exit_code"], job["failure"]) == (3, "ErrorNonZeroContainerExitCode")
    kept = await world.rows("SELECT attempt, exit_code, outcome, reason FROM attempts ORDER BY attempt")
    assert [(row["attempt"], row["exit_code"], row["outcome"]) for row in kept] == [
        (1, 1, "EXITED"),
        (2, 2, "EXITED"),
    ]
    assert kept[0]["reason"] == "The program exited with code 1"


@pytest.mark.parametrize(
    ("outcome", "failure"),
    [(Outcome.TIMED_OUT, "ErrorTimeout"), (Outcome.CANCELLED, None)],
)
async def test_no_retry_after_a_time_out_or_a_cancel(
    world: World, outcome: Outcome, failure: str | None
) -> None:
    batch, agent, grant = await one_job(world, max_retries=5)
    await world.report(agent, world.end(grant, outcome))
    job = await world.job(batch)
    assert (job["status"], job["failure"]) == (FAILED, failure)


async def test_a_cancelled_job_that_ends_well_has_succeeded(world: World) -> None:
    batch, agent, grant = await one_job(world)
    await world.cancel(batch.task)
    await world.report(agent, world.end(grant))
    assert await world.statuses(batch) == [SUCCEEDED]


async def test_a_cancelled_job_is_lost_with_its_node(world: World) -> None:
    batch, _, _ = await one_job(world, max_retries=3)
    await world.cancel(batch.task)
    world.clock.step(LEASE_SECONDS + 1)
    await world.expiry.run_once()
    job = await world.job(batch)
    assert (job["status"], job["failure"], job["reason"]) == (FAILED, None, "Cancelled by user")


async def test_an_agent_is_told_to_stop_until_it_has(world: World) -> None:
    batch, agent, grant = await one_job(world)
    await world.cancel(batch.task)
    for _ in range(2):
        assert (await world.report(agent)).stop == [grant.lease]
        assert (await world.report(agent, held=[grant.lease])).stop == [grant.lease]
    answer = await world.report(agent, world.end(grant, Outcome.CANCELLED), held=[])
    assert (answer.stop, answer.gone) == ([], [])


async def test_leases_that_an_agent_only_thinks_it_has_are_gone(world: World) -> None:
    batch, agent, grant = await one_job(world)
    other = await world.agent()
    assert (await world.report(other, held=[grant.lease, 999])).gone == [grant.lease, 999]
    assert (await world.report(agent, held=[grant.lease])).gone == []
    assert await world.statuses(batch) == [STARTING]


async def test_a_grant_that_never_arrived_is_taken_back_when_that_is_certain(world: World) -> None:
    batch, agent, _ = await one_job(world)
    for _ in range(3):
        await world.report(agent, held=[])
        assert await world.statuses(batch) == [STARTING], "its answer may still be on the way"
        world.clock.step(LEASE_SECONDS / 3)
    world.clock.step(0.1)
    await world.report(agent, held=[])
    job = await world.job(batch)
    assert (job["status"], job["losses"], job["failures"]) == (RUNNABLE, 0, 0)


async def test_an_agent_that_leaves_gives_back_what_it_does_not_hold_at_once(world: World) -> None:
    batch, agent, _ = await one_job(world)
    await world.report(agent, held=[], stopping=True)
    assert await world.statuses(batch) == [RUNNABLE]


async def test_a_lease_that_is_reported_as_started_is_held(world: World) -> None:
    batch, agent, grant = await one_job(world)
    await world.report(agent, world.start(grant), held=[], stopping=True)
    assert await world.statuses(batch) == [RUNNING]
    assert await world.rows("SELECT 1 FROM attempts") == []


async def test_a_report_has_a_limit(world: World) -> None:
    batch, agent, grant = await one_job(world)
    with pytest.raises(InvalidRequest, match=str(MAX_ITEMS)):
        await world.report(agent, *[world.start(grant)] * (MAX_ITEMS + 1))
    await world.report(agent, *[world.start(grant)] * MAX_ITEMS)
    assert await world.statuses(batch) == [RUNNING]


async def test_a_reason_is_cut_and_cleaned(world: World) -> None:
    batch, agent, grant = await one_job(world)
    end = JobReport(
        grant.lease, batch.no, 0, ended_at=1, outcome=Outcome.CANNOT_START, reason="no\0 " + "x" * 5000
    )
    await world.report(agent, end)
    reason = (await world.job(batch))["reason"]
    assert reason.startswith("no x")
    assert len(reason) <= 1024


async def test_the_task_shows_when_its_jobs_ended(world: World) -> None:
    batch, agent, grant = await one_job(world)
    world.clock.step(60)
    await world.report(agent, world.end(grant))
    rows = await world.rows("SELECT last_active_at FROM tasks WHERE id = $1", batch.task.id)
    assert rows[0]["last_active_at"] == world.clock.now


async def test_events_tell_the_whole_story_in_order(core: Core) -> None:
    world = core.world
    user = await world.user()
    task = await world.task(user)
    batch = await world.batch(task, max_retries=1)
    agent = await world.agent()
    (first,) = await world.grant(agent, (batch, 1))
    await world.report(agent, world.start(first), world.end(first, exit_code=4))
    await world.end_rests()
    (second,) = await world.grant(agent, (batch, 1))
    await world.report(agent, world.start(second), world.end(second))
    place = (str(task.project), str(task.id), f"{batch.id}:0")

    _, page = await core.jobs.events(caller(user), *place, None, 100)

    events = [event for _, event in page.items]
    s = JobStatus
    assert [event.status for event in events] == [
        s.SUBMITTED_TO_RESCALE,
        s.RUNNABLE,
        s.STARTING,
        s.RUNNING,
        s.RUNNABLE,
        s.STARTING,
        s.RUNNING,
        s.SUCCEEDED,
    ]
    assert all(one.at < two.at for one, two in pairwise(events))
    assert (events[4].reason, events[4].exit_code) == ("The program exited with code 4", 4)
    pages = []
    cursor = None
    while True:
        _, part = await core.jobs.events(caller(user), *place, cursor, 3)
        pages.append(part.items)
        cursor = part.cursor
        if cursor is None:
            break
    assert [item for part in pages for item in part] == page.items
    assert [len(part) for part in pages] == [3, 3, 2]


def chunk(grant: Granted, key: str, lines: int = 1, offset: int = 0, first: int = 1) -> LogChunk:
    place = (key, offset, 10, lines, first, first + lines - 1)
    return LogChunk(grant.lease, grant.batch_no, grant.idx, *place)


async def lines_of(world: World) -> list[tuple[int, int, str, int]]:
    rows = await world.rows(
        "SELECT first_line, lines, key, object_offset FROM log_chunks JOIN log_objects USING (object_no)"
        " ORDER BY batch_no, idx, first_line"
    )
    return [(row["first_line"], row["lines"], row["key"], row["object_offset"]) for row in rows]


async def test_log_lines_are_numbered_in_the_order_of_their_chunks(world: World) -> None:
    _, agent, grant = await one_job(world)
    await world.report(agent, chunk(grant, "logs/1/a", 3), chunk(grant, "logs/1/a", 2, 10, first=7))
    await world.report(agent, chunk(grant, "logs/1/b", 4, first=9), world.end(grant))
    assert await lines_of(world) == [(0, 3, "logs/1/a", 0), (3, 2, "logs/1/a", 10), (5, 4, "logs/1/b", 0)]


async def test_a_repeated_chunk_changes_nothing(world: World) -> None:
    _, agent, grant = await one_job(world)
    first, second, third = (
        chunk(grant, f"logs/1/{name}", 2, first=first) for first, name in ((1, "a"), (3, "b"), (50, "c"))
    )
    await world.report(agent, first, first)
    await world.report(agent, first, second, second)
    await world.report(agent, third, second, first)
    assert [(at, key) for at, _, key, _ in await lines_of(world)] == [
        (0, "logs/1/a"),
        (2, "logs/1/b"),
        (4, "logs/1/c"),
    ]
    assert await world.rows("SELECT key, slices FROM log_objects ORDER BY key") == [
        {"key": f"logs/1/{name}", "slices": 1} for name in "abc"
    ]


async def test_chunks_of_an_attempt_that_is_over_are_gone(world: World) -> None:
    _, agent, grant = await one_job(world, max_retries=1)
    await world.report(agent, chunk(grant, "logs/1/a", first=77), world.end(grant, exit_code=1))
    answer = await world.report(agent, chunk(grant, "logs/1/b"))
    assert answer.gone == [grant.lease]
    assert len(await lines_of(world)) == 1


async def test_the_next_attempt_goes_on_behind_the_lines_of_the_former(world: World) -> None:
    batch, agent, grant = await one_job(world, max_retries=1)
    await world.report(agent, chunk(grant, "logs/1/a", 3, first=75), world.end(grant, exit_code=1))
    await world.end_rests()
    (again,) = await world.grant(agent, (batch, 1))
    assert again.log_floor_ns == 77
    await world.report(agent, chunk(again, "logs/1/b", 2, first=78))
    assert [at for at, _, _, _ in await lines_of(world)] == [0, 3]


async def test_invariant_8_a_lease_opens_the_log_of_its_own_job_only(world: World) -> None:
    batch = await world.batch(await world.task(), 2)
    agent = await world.agent()
    mine, _ = await world.grant(agent, (batch, 2))
    crossed = LogChunk(mine.lease, batch.no, 1, "logs/1/a", 0, 10, 1, 1, 1)
    answer = await world.report(agent, world.start(mine), crossed)
    assert answer.gone == [mine.lease]
    assert await lines_of(world) == []


@pytest.mark.parametrize("key", ["projects/x/shared/f", "logs/../projects/f", "", "logs", "logs/\0"])
async def test_only_log_objects_are_logs(world: World, key: str) -> None:
    _, agent, grant = await one_job(world)
    with pytest.raises(OpenhtcError):
        await world.report(agent, chunk(grant, key))
    assert await lines_of(world) == []


@pytest.mark.parametrize(("lines", "offset"), [(0, 0), (-1, 0), (1, -1)])
async def test_numbers_of_a_chunk_that_cannot_be(lines: int, offset: int) -> None:
    """Refused when the report is decoded."""
    odd = LogChunk(1, 1, 0, "logs/1/a", offset, 10, lines, 1, 2)
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode(Report(chunks=[odd])), type=Report)
