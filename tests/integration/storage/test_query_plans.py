"""The statements that run all the time read what they answer, not the whole table."""

import json
from datetime import timedelta
from typing import Any, Literal, get_args

import pytest

from openhtc.storage import jobs, leasing
from openhtc.storage.jobs import JobFilter

from ..world import REGION, Batch, Task, World

SIZE = 1000
BATCHES = 100
WANTED = ([REGION], 1000, 10**6, 10**4, "local", "X86", [], False, False)
PAGE = 101


@pytest.fixture
async def crowd(world: World) -> tuple[Task, list[Batch]]:
    """200,000 jobs of two tasks, the first of which is asked about."""
    task, other = await world.task(), await world.task()
    await world.batches(other, [SIZE] * (BATCHES // 2))
    mine = await world.batches(task, [SIZE] * BATCHES)
    await world.batches(other, [SIZE] * (BATCHES // 2))
    agent = await world.agent()
    for batch in mine[:10]:
        grants = await world.grant(agent, (batch, SIZE))
        await world.report(agent, *(world.end(grant) for grant in grants))
    await world.rows("VACUUM ANALYZE")
    return task, mine


Mode = Literal["force_custom_plan", "force_generic_plan"]
"""Whether the plan is made for the arguments, or once for all, as for a statement that a connection runs often."""


async def plan(world: World, mode: Mode, statement: str, *arguments: object) -> dict[str, Any]:
    """What was done when the statement was run, which is then undone."""
    async with world.database.connection() as connection:
        transaction = connection.transaction()
        await transaction.start()
        try:
            await connection.execute(f"SET LOCAL plan_cache_mode = {mode}")
            await connection.execute(f"PREPARE looked_at AS {statement}")
            given = f"({', '.join(map(_literal, arguments))})" if arguments else ""
            text = await connection.fetchval(
                f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE looked_at{given}"
            )
        finally:
            await transaction.rollback()
            await connection.execute("DEALLOCATE ALL")
    found: dict[str, Any] = json.loads(text)[0]["Plan"]
    return found


def _literal(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, list):
        return "'{" + ",".join(map(str, value)) + "}'"
    return f"'{value}'"


async def read(world: World, mode: Mode, statement: str, *arguments: object) -> dict[str, int]:
    """How many rows of each table the statement looked at."""
    seen: dict[str, int] = {}
    _walk(await plan(world, mode, statement, *arguments), seen)
    return seen


def _walk(node: dict[str, Any], seen: dict[str, int]) -> None:
    if name := node.get("Relation Name"):
        dropped = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
        looked = round((node["Actual Rows"] + dropped) * node["Actual Loops"])
        seen[name] = seen.get(name, 0) + looked
    for child in node.get("Plans", []):
        _walk(child, seen)


@pytest.mark.parametrize("mode", get_args(Mode))
async def test_no_statement_of_the_hot_paths_reads_the_whole_table(
    world: World, crowd: tuple[Task, list[Batch]], mode: Mode
) -> None:
    task, mine = crowd
    agent = await world.agent()
    grants = await world.grant(agent, (mine[50], 100))
    now, minute = world.clock(), timedelta(minutes=1)
    for batch, until in ((mine[60], now), (mine[61], now + minute / 2)):
        await world.rows(
            "UPDATE jobs SET rests_until = $1 WHERE batch_no = $2 AND idx < 100", until, batch.no
        )
    plans = {
        "lease": (leasing._SQL["lease_jobs"], ([mine[70].no], [100], agent, world.clock()), 300),
        "lease of a drained batch": (
            leasing._SQL["lease_jobs"],
            ([mine[0].no], [100], agent, world.clock()),
            SIZE,
        ),
        "leases of an agent": (leasing._SQL["agent_leases"], (agent,), 100),
        "lock leases": (
            leasing._SQL["lock_leases"],
            ([g.batch_no for g in grants], [g.idx for g in grants], [g.lease for g in grants]),
            100,
        ),
        "end of rests": (leasing._SQL["end_rests"], (now, now + minute, 1000), 600),
        "one job": (jobs._SQL["find_job"], (mine[40].id, 17, task.id), 1),
    }
    too_many = {}
    for name, (statement, arguments, limit) in plans.items():
        seen = (await read(world, mode, statement, *arguments)).get("jobs", 0)
        if seen > limit:
            too_many[name] = f"{seen} rows of jobs, expected at most {limit}"
    assert too_many == {}
    waiting = await read(world, mode, leasing._SQL["waiting_batches"], *WANTED)
    assert waiting["batches"] <= 100


@pytest.mark.parametrize("mode", get_args(Mode))
async def test_a_page_is_found_without_reading_what_is_not_on_it(
    world: World, crowd: tuple[Task, list[Batch]], mode: Mode
) -> None:
    task, mine = crowd
    agent = await world.agent()
    await world.grant(agent, (mine[50], 100))

    def page(after: tuple[int, int], **narrow: Any) -> tuple[object, ...]:
        ids = narrow.get("ids")
        parents = None if ids is None else [batch.id for batch, _ in ids]
        indexes = None if ids is None else [index for _, index in ids]
        return (task.id, *after, narrow.get("group"), narrow.get("status"), parents, indexes, PAGE)

    pages = {
        "first": page((0, -1)),
        "in the middle": page((mine[60].no, 500)),
        "of some ids": page((0, -1), ids=[(mine[90], 7), (mine[3], 1)]),
        "of what starts": page((0, -1), status=3),
    }
    # All jobs of the task are some 1,500 blocks; the page's own rows are four blocks each at most.
    too_many = {}
    for name, arguments in pages.items():
        found = await plan(world, mode, jobs._SQL["page_jobs"], *arguments)
        blocks = found["Shared Hit Blocks"] + found["Shared Read Blocks"]
        if blocks > 5 * PAGE + 300:
            too_many[name] = blocks
    assert too_many == {}


async def test_pages_of_a_large_task_are_complete(world: World) -> None:
    task = await world.task()
    batches = await world.batches(task, [SIZE, 7, SIZE])
    found: list[tuple[int, int]] = []
    after = (0, -1)
    async with world.database.connection() as connection:
        while page := await jobs.page_jobs(connection, task.id, after, JobFilter(), 333):
            found += [(job.batch_no, job.idx) for job in page]
            after = found[-1]
    assert found == [(batch.no, index) for batch in batches for index in range(batch.size)]
