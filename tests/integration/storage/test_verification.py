"""`openhtc verify` on a store with a rich past: it finds nothing, and each kind of damage by its name."""

from datetime import timedelta
from uuid import uuid4

import asyncpg
import pytest

from openhtc.domain.enums import Outcome
from openhtc.domain.errors import NotFound
from openhtc.domain.work import LogChunk
from openhtc.services.verification import CHECKS, Finding, Verification
from openhtc.storage import limits, verification

from ..world import LEASE_SECONDS, Batch, World

KEY = "logs/{agent}/a"
DAMAGE = {
    "missing_jobs": "DELETE FROM jobs WHERE batch_no = 1 AND idx = 5",
    "jobs_without_batch": "INSERT INTO jobs (batch_no, idx, status) VALUES (99, 0, 0)",
    "shared_leases": "UPDATE jobs SET lease = (SELECT min(lease) FROM jobs) WHERE lease IS NOT NULL",
    "leases_of_ended_agents": "UPDATE agents SET ended_at = seen_at WHERE agent_no = 2",
    "overdue_leases": "UPDATE agents SET expires_at = seen_at - interval '2 minutes' WHERE agent_no = 2",
    "overdue_cancellations": "UPDATE batches SET cancelling_at = created_at - interval '1 day' WHERE batch_no = 1",
    "overdue_rests": "UPDATE jobs SET rests_until = queued_at - interval '2 minutes' WHERE batch_no = 1 AND status = 2",
    "contradictory_jobs": "UPDATE jobs SET cancelled_at = queued_at WHERE batch_no = 1 AND status = 2",
    "untold_attempts": "DELETE FROM attempts WHERE batch_no = 1 AND idx = 1",
    "wrong_charges": "UPDATE attempts SET outcome = 'NODE_LOST' WHERE outcome = 'EXITED'",
    "counters_of_tasks": "UPDATE job_counts SET succeeded = succeeded + 1 WHERE group_label = 'g'",
    "counters_of_batches": "UPDATE batches SET active = active + 1 WHERE batch_no = 1",
    "counters_of_projects": "UPDATE project_metrics SET counters[12] = counters[12] + 1",
    "exceeded_limits": "UPDATE limits SET vcpus = 1, updated_at = updated_at - interval '1 hour'",
    "gaps_in_logs": "UPDATE log_chunks SET first_line = first_line + 1 WHERE first_line > 0",
    "counters_of_logs": "UPDATE log_objects SET slices = slices + 1",
    "strange_logs": "UPDATE log_objects SET key = 'logs/77/a'",
    "strange_batches": "UPDATE batches SET workspace_id = '10-2000000' WHERE batch_no = 1",
}


@pytest.fixture
async def past(world: World) -> Batch:
    """A batch with a job in nearly every state, with logs, losses and a limit; and another task beside it."""
    await world.user("10-2000000")
    task = await world.task()
    async with world.database.transaction() as connection:
        await limits.put_limit(
            connection, task.workspace, task.project, "PROJECT_ADMIN", 9, "u", world.clock()
        )
    world.clock.step(1)
    batch = await world.batch(task, 7, group="g", max_retries=1)
    lost = await world.agent()
    await world.grant(lost, (batch, 1))
    world.clock.step(LEASE_SECONDS + 1)
    assert await world.expiry.run_once() == 1
    agent = await world.agent()
    assert agent == 2
    grants = await world.grant(agent, (batch, 6))
    await world.report(
        agent,
        world.end(grants[0]),
        world.end(grants[1], exit_code=1),
        world.end(grants[2], Outcome.TIMED_OUT),
        world.start(grants[3]),
        *(
            LogChunk(grants[3].lease, batch.no, 3, KEY.format(agent=agent), n, 1, 2, first_ns=n, last_ns=n)
            for n in range(1, 3)
        ),
    )
    other = await world.batch(await world.task(), 2)
    await world.grant(agent, (other, 1))
    return batch


async def verify(world: World, batch: Batch | None = None) -> dict[str, Finding]:
    found = await Verification(world.database, world.clock).run(batch and batch.task.id, 5)
    assert [finding.check for finding in found] == [check.statement for check in CHECKS]
    return {finding.check: finding for finding in found if finding.broken}


async def damage(world: World, statement: str) -> None:
    """Behind the back of the counters' triggers."""
    async with world.database.transaction() as connection:
        await connection.execute("ALTER TABLE jobs DISABLE TRIGGER USER")
        await connection.execute(statement)
        await connection.execute("ALTER TABLE jobs ENABLE TRIGGER USER")


async def test_nothing_is_found_in_an_honest_store(world: World, past: Batch) -> None:
    assert await verify(world) == {}
    assert await verify(world, past) == {}


@pytest.mark.parametrize("check", DAMAGE)
async def test_each_damage_is_found_by_its_name(world: World, past: Batch, check: str) -> None:
    await damage(world, DAMAGE[check])
    found = await verify(world)
    assert check in found, found
    assert found[check].broken >= len(found[check].rows) > 0
    assert all(row.place and row.problem for row in found[check].rows)


def test_every_check_has_its_damage() -> None:
    assert list(DAMAGE) == [check.statement for check in CHECKS]


async def test_a_damage_is_not_found_in_another_task(world: World, past: Batch) -> None:
    await damage(world, "UPDATE jobs SET cancelled_at = queued_at WHERE batch_no = 2 AND status = 2")
    assert await verify(world, past) == {}
    assert list(await verify(world)) == ["contradictory_jobs"]


async def test_it_says_which_row_and_how_many(world: World, past: Batch) -> None:
    await damage(world, "UPDATE jobs SET idx = idx + 10 WHERE batch_no = 1 AND idx IN (4, 5, 6)")
    found = await Verification(world.database, world.clock).run(None, 1)
    missing = next(finding for finding in found if finding.check == "missing_jobs")
    assert [(row.place, row.problem) for row in missing.rows] == [
        (f"batch {past.id}", "7 of 7 jobs are there, the last with index 16")
    ]
    indexes = next(finding for finding in found if finding.check == "contradictory_jobs")
    assert (len(indexes.rows), indexes.broken) == (1, 3)


async def test_a_lowered_limit_breaks_nothing(world: World, past: Batch) -> None:
    await damage(world, "UPDATE limits SET vcpus = 1, updated_at = now() + interval '1 hour'")
    assert await verify(world) == {}


async def test_jobs_that_retention_has_removed_are_not_missed(world: World, past: Batch) -> None:
    world.clock.step(timedelta(days=61).total_seconds())
    found = await verify(world)
    assert "missing_jobs" not in found and "overdue_leases" in found


async def test_an_unknown_task_is_an_error(world: World, past: Batch) -> None:
    with pytest.raises(NotFound, match="there is no task"):
        await Verification(world.database, world.clock).run(uuid4(), 5)


async def test_it_sees_one_moment_and_can_change_nothing(world: World, past: Batch) -> None:
    async with world.database.transaction() as connection:
        await verification.take_snapshot(connection)
        for _ in range(2):
            assert await verification.find_broken(connection, "counters_of_batches", None, 5, None) == ([], 0)
            await damage(world, DAMAGE["counters_of_batches"])
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await connection.execute("DELETE FROM jobs")
