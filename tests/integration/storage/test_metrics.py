"""What is counted when jobs move equals what a recount of jobs and attempts finds."""

import asyncio
import random
from bisect import bisect_left
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
import pytest

from openhtc.domain.attempts import judge
from openhtc.domain.enums import FailureCode, Outcome, StatusCode
from openhtc.domain.metrics import MEBIBYTES, POSITIONS, REQUEUED, SECONDS, Counters, counters
from openhtc.domain.work import Usage
from openhtc.storage import metrics
from openhtc.storage.leasing import Granted
from openhtc.storage.metrics import Place

from ..world import LEASE_SECONDS, REGION, Batch, Task, World

OTHER_REGION = "AWS_US_EAST_1"
BOUNDS = [float(seconds) for seconds in SECONDS]


async def counted(world: World) -> dict[Place, list[int]]:
    async with world.database.connection() as connection:
        projects = await metrics.list_projects(connection, None)
        return await metrics.sum_counters(connection, [project.id for project in projects])


async def at(world: World, task: Task, region: str = REGION) -> Counters:
    return counters((await counted(world))[task.project, region])


def interval(value: float | None, bounds: Sequence[float]) -> list[int]:
    """One in the interval of a value; an upper bound belongs to its interval."""
    found = [0] * (len(bounds) + 1)
    if value is not None:
        found[bisect_left(bounds, value)] = 1
    return found


def said_by(rows: Sequence[dict[str, Any]], names: Sequence[str | None], key: str) -> list[list[int]]:
    return [[int(row[key] == name) for name in names] for row in rows]


def of_job(job: dict[str, Any]) -> list[int]:
    """What one job adds at each position."""
    status, ended = job["status"], job["status"] >= StatusCode.SUCCEEDED
    wait = None if job["leased_at"] is None else (job["leased_at"] - job["queued_at"]).total_seconds()
    run = (job["ended_at"] - job["started_at"]).total_seconds() if ended and job["started_at"] else None
    memory = job["max_memory_mib"] or None if ended else None
    failed = status == StatusCode.FAILED
    return [
        *(int(status == code) for code in range(7)),
        *(job["vcpus"] * (status == code) for code in range(5)),
        int(job["started_at"] is not None),
        int(status == StatusCode.SUCCEEDED),
        int(failed and job["failure"] is None),
        *(int(failed and job["failure"] == code) for code in FailureCode),
        *(0 for _ in REQUEUED),
        *interval(wait, BOUNDS),
        round((wait or 0) * 1e6),
        *interval(run, BOUNDS),
        round((run or 0) * 1e6),
        *interval(memory, MEBIBYTES),
        memory or 0,
    ]


def of_attempt(attempt: dict[str, Any]) -> list[int]:
    """What an attempt that did not end its job adds."""
    wait = (attempt["leased_at"] - attempt["queued_at"]).total_seconds()
    before = [0] * 12 + [int(attempt["started_at"] is not None)] + [0] * 12
    requeued = [int(attempt["outcome"] == outcome) for outcome in REQUEUED]
    after = [*interval(wait, BOUNDS), round(wait * 1e6)]
    return [*before, *requeued, *after, *[0] * 22]


async def recount(world: World) -> dict[Place, list[int]]:
    jobs = await world.rows(
        "SELECT j.*, b.project_id, b.region, b.vcpus FROM jobs j JOIN batches b USING (batch_no)"
    )
    attempts = await world.rows(
        "SELECT a.*, b.project_id, b.region FROM attempts a JOIN batches b USING (batch_no)"
    )
    totals: dict[Place, list[int]] = {}
    for row, added in [*((job, of_job(job)) for job in jobs), *((a, of_attempt(a)) for a in attempts)]:
        place = (row["project_id"], row["region"])
        before = totals.get(place, [0] * POSITIONS)
        totals[place] = [n + more for n, more in zip(before, added, strict=True)]
    return totals


async def check(world: World) -> None:
    assert await counted(world) == await recount(world)


@pytest.fixture
async def checked(world: World) -> AsyncIterator[World]:
    yield world
    await check(world)


async def test_every_step_of_a_job_s_life(checked: World) -> None:
    world = checked
    task = await world.task()
    batch = await world.batch(task, 4, vcpus=3, max_retries=1)
    await world.batches(task, [2], held=True, vcpus=5)
    await check(world)
    agent = await world.agent()
    world.clock.step(60)
    grants = await world.grant(agent, (batch, 3))
    await check(world)
    world.clock.step(7)
    await world.report(agent, *(world.start(grant) for grant in grants[:2]))
    await check(world)
    world.clock.step(60)
    await world.report(agent, world.end(grants[0]), world.end(grants[1], exit_code=1), world.start(grants[2]))
    found = await at(world, task)
    assert list(found.jobs.values()) == [2, 0, 2, 0, 1, 1, 0]
    assert list(found.vcpus.values()) == [10, 0, 6, 0, 3]
    assert (found.starts, found.succeeded, found.active_vcpus, found.leased_vcpus) == (3, 1, 9, 3)
    assert found.requeued[Outcome.EXITED] == 1
    assert found.waits.counts[SECONDS.index("60")] == 3, "60 seconds are within the interval up to 60"
    assert (found.runs.counts[SECONDS.index("60")], found.runs.total) == (1, 60)


async def test_a_start_and_a_failure_in_one_report(checked: World) -> None:
    task = await checked.task()
    batch = await checked.batch(task, max_retries=1)
    agent = await checked.agent()
    for _ in range(2):
        (grant,) = await checked.grant(agent, (batch, 1))
        await checked.report(agent, checked.start(grant), checked.end(grant, exit_code=2))
        await checked.end_rests()
    found = await at(checked, task)
    assert (found.starts, found.requeued[Outcome.EXITED]) == (2, 1)
    assert found.failed[FailureCode.NON_ZERO_EXIT] == 1
    assert sum(found.waits.counts) == 2


async def test_cancelling(checked: World) -> None:
    task = await checked.task()
    batch = await checked.batch(task, 4)
    await checked.batches(task, [2], held=True)
    agent = await checked.agent()
    running, stopped = await checked.grant(agent, (batch, 2))
    await checked.report(agent, checked.start(running))
    await checked.cancel(task)
    assert (await at(checked, task)).cancelled == 4
    await check(checked)
    await checked.report(
        agent, checked.end(running, Outcome.CANCELLED), checked.end(stopped, Outcome.HANDED_BACK)
    )
    found = await at(checked, task)
    assert (found.cancelled, sum(found.requeued.values()), sum(found.failed.values())) == (6, 0, 0)
    assert sum(found.runs.counts) == 1, "only one was ever started"


async def test_a_lost_node(checked: World) -> None:
    task = await checked.task()
    batch = await checked.batch(task, 3)
    agent = await checked.agent()
    first, *_ = await checked.grant(agent, (batch, 2))
    await checked.report(agent, checked.start(first))
    checked.clock.step(LEASE_SECONDS + 1)
    assert await checked.expiry.run_once() == 1
    found = await at(checked, task)
    assert found.requeued[Outcome.NODE_LOST] == 2
    assert (found.starts, sum(found.waits.counts), sum(found.runs.counts)) == (1, 2, 0)
    assert list(found.jobs.values())[StatusCode.RUNNABLE] == 3


async def test_memory_peaks(checked: World) -> None:
    task = await checked.task()
    batch = await checked.batch(task, 4, max_retries=1)
    agent = await checked.agent()
    grants = await checked.grant(agent, (batch, 4))
    peaks = (16, 17, 300_000, 0)
    ends = [
        msgspec.structs.replace(checked.end(grant), usage=Usage(1, peak))
        for grant, peak in zip(grants, peaks, strict=True)
    ]
    await checked.report(agent, *ends)
    memory = (await at(checked, task)).memory
    assert list(memory.counts) == [1, 1, 0, 0, 0, 0, 0, 0, 1], "0 is unknown"
    assert memory.total == sum(peaks) * 2**20


async def test_every_failure_code_and_outcome_has_its_place(checked: World) -> None:
    """Also those that the service does not give at present."""
    task = await checked.task()
    batch = await checked.batch(task, len(FailureCode))
    for index, code in enumerate(FailureCode):
        await checked.rows(
            "UPDATE jobs SET status = 6, failure = $3, ended_at = $4 WHERE batch_no = $1 AND idx = $2",
            batch.no,
            index,
            code.value,
            checked.clock(),
        )
    assert (await at(checked, task)).failed == dict.fromkeys(FailureCode, 1)


@pytest.mark.parametrize("outcome", list(Outcome))
async def test_every_outcome_after_which_a_job_goes_back(checked: World, outcome: Outcome) -> None:
    back = judge(outcome, 1, None, cancelled=False, failures=0, losses=0, max_retries=1).requeue
    assert back == (outcome in REQUEUED)
    task = await checked.task()
    batch = await checked.batch(task, max_retries=1)
    agent = await checked.agent()
    (grant,) = await checked.grant(agent, (batch, 1))
    await checked.report(agent, checked.end(grant, outcome, exit_code=1))
    assert {o for o, n in (await at(checked, task)).requeued.items() if n} == ({outcome} if back else set())


async def test_what_removed_jobs_did_stays_counted(world: World) -> None:
    task = await world.task()
    batch = await world.batch(task, 5, vcpus=2, max_retries=1)
    agent = await world.agent()
    grants = await world.grant(agent, (batch, 4))
    await world.report(agent, *(world.start(grant) for grant in grants))
    world.clock.step(3)
    await world.report(agent, world.end(grants[0]), world.end(grants[1], exit_code=3), world.end(grants[2]))
    before = (await counted(world))[task.project, REGION]
    await world.rows("DELETE FROM attempts WHERE batch_no = $1 AND idx < 3 RETURNING idx", batch.no)
    await world.rows("DELETE FROM jobs WHERE batch_no = $1 AND ended_at IS NOT NULL RETURNING idx", batch.no)
    after = (await counted(world))[task.project, REGION]
    assert counters(after).jobs == {**counters(before).jobs, StatusCode.SUCCEEDED.status: 0}
    assert after[:12] == (await recount(world))[task.project, REGION][:12]
    assert after[12:] == before[12:]
    assert after[13] == 2


async def test_projects_and_regions_are_counted_apart(checked: World) -> None:
    first, second = await checked.task(), await checked.task()
    await checked.batches(first, [2, 3])
    await checked.batch(first, 4, region=OTHER_REGION)
    await checked.batch(second, 5)
    found = {place: sum(numbers[:7]) for place, numbers in (await counted(checked)).items()}
    assert found == {
        (first.project, REGION): 5,
        (first.project, OTHER_REGION): 4,
        (second.project, REGION): 5,
    }


async def test_a_transaction_that_is_undone_counts_nothing(checked: World) -> None:
    task = await checked.task()
    batch = await checked.batch(task, 2)
    before = await counted(checked)
    with pytest.raises(ZeroDivisionError):
        async with checked.database.transaction() as connection:
            await connection.execute("UPDATE jobs SET status = 1 WHERE batch_no = $1", batch.no)
            raise ZeroDivisionError
    assert await counted(checked) == before


OUTCOMES = (Outcome.EXITED, Outcome.EXITED, Outcome.TIMED_OUT, Outcome.NODE_FAULT, Outcome.HANDED_BACK)


async def run_some(world: World, batches: Sequence[Batch], rng: random.Random) -> None:
    agent = await world.agent()
    for _ in range(15):
        grants = await world.grant(agent, *((batch, 3) for batch in rng.sample(batches, 2)))
        await world.report(agent, *(world.start(g) for g in grants if rng.random() < 0.7))
        await world.report(agent, *(end(world, g, rng) for g in grants if rng.random() < 0.8))


def end(world: World, grant: Granted, rng: random.Random) -> Any:
    usage = Usage(rng.randrange(1000), rng.randrange(5000))
    return msgspec.structs.replace(world.end(grant, rng.choice(OUTCOMES), rng.choice((0, 0, 1))), usage=usage)


@pytest.mark.parametrize("seed", range(3))
async def test_many_agents_at_once(checked: World, seed: int) -> None:
    """More connections than shards move the jobs of two projects in two regions, while others cancel and submit."""
    rng = random.Random(seed)
    tasks = [await checked.task() for _ in range(2)]
    batches = [
        await checked.batch(task, 40, region=region, vcpus=rng.randrange(1, 5), max_retries=1)
        for task in tasks
        for region in (REGION, OTHER_REGION)
        for _ in range(2)
    ]

    async def disturb() -> None:
        for n in range(5):
            checked.clock.step(rng.choice((0.5, 5, 100)))
            await checked.batches(tasks[0], [rng.randrange(1, 30)], held=n % 2 == 0)
        await checked.cancel(tasks[1])

    agents = (run_some(checked, batches, random.Random(seed * 100 + n)) for n in range(10))
    await asyncio.gather(disturb(), *agents)
    assert sum((await at(checked, tasks[0])).runs.counts) > 0


async def test_queue_ages(world: World) -> None:
    task = await world.task()
    place = (task.project, REGION)

    async def since() -> float:
        async with world.database.connection() as connection:
            found = await metrics.waiting_since(connection, [place])
        return (world.clock() - found[place]).total_seconds()

    old = await world.batch(task, 2, max_retries=5)
    world.clock.step(100)
    new = await world.batch(task, 2)
    assert await since() == 100
    agent = await world.agent()
    grants = await world.grant(agent, (old, 2))
    world.clock.step(10)
    assert await since() == 10, "nothing of the old batch waits"
    await world.report(agent, *(world.end(grant, exit_code=1) for grant in grants))
    world.clock.step(1)
    assert await world.rest_end.run_once() == 2
    assert await since() == 11, "those that came back have waited for less time"
    await world.grant(agent, (new, 1))
    assert await since() == 11
    await world.grant(agent, (new, 1))
    assert await since() == 0


async def test_queue_ages_of_every_priority_and_of_partly_leased_batches(world: World) -> None:
    task = await world.task()
    place = (task.project, REGION)
    async with world.database.connection() as connection:
        assert await metrics.waiting_since(connection, [place]) == {}
        cheap = await world.batch(task, 1, economy=True)
        world.clock.step(50)
        split = await world.batch(task, 5)
        agent = await world.agent()
        (first,) = await world.grant(agent, (split, 1))
        world.clock.step(50)
        await world.report(agent, world.end(first, Outcome.HANDED_BACK))
        assert await metrics.waiting_since(connection, [place]) == {
            place: (await world.job(cheap))["queued_at"]
        }
        await world.grant(agent, (cheap, 1))
        assert await metrics.waiting_since(connection, [place]) == {
            place: (await world.job(split, 4))["queued_at"]
        }


async def test_nodes_and_the_installation(world: World) -> None:
    await world.agent(vcpus=8)
    await world.agent(vcpus=16, region=OTHER_REGION, provider="gcp")
    await world.agent(vcpus=4, regions=[REGION, OTHER_REGION])
    async with world.database.connection() as connection:
        pools = await metrics.live_nodes(connection, world.clock())
        assert {(p.provider, p.region): (p.nodes, p.vcpus) for p in pools} == {
            ("local", REGION): (2, 12),
            ("local", OTHER_REGION): (1, 4),
            ("gcp", OTHER_REGION): (1, 16),
        }
        whole = await metrics.installation(connection, world.clock())
        assert (whole.nodes, whole.expired, whole.keeper_since) == (3, 0, None)
        assert whole.database_bytes > 1_000_000 and whole.schema_version >= 5
        world.clock.step(LEASE_SECONDS + 1)
        assert await metrics.live_nodes(connection, world.clock()) == []
        assert await world.expiry.run_once() == 3
        await connection.execute("DELETE FROM agents")
        whole = await metrics.installation(connection, world.clock())
        assert (whole.nodes, whole.expired) == (0, 3)


async def test_only_one_workspace(world: World) -> None:
    task = await world.task()
    stranger = await world.task(await world.user("20-2000000"))
    for each in (task, stranger):
        await world.batch(each)
    async with world.database.connection() as connection:
        for each in (task, stranger):
            assert [p.id for p in await metrics.list_projects(connection, each.workspace)] == [each.project]
            assert list(await metrics.sum_counters(connection, [each.project])) == [(each.project, REGION)]
