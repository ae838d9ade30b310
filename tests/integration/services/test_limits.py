"""Limits hold jobs back, and admission releases them as far as there is room."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from openhtc.domain.enums import ModifierRole
from openhtc.domain.errors import Forbidden, NotFound
from openhtc.domain.identity import User
from openhtc.services.admission import Admission
from openhtc.services.submission import Submission
from openhtc.storage import admission

from ..world import Batch, Task, World, caller, until_blocked
from .conftest import Core
from .test_submission import request

LIMITS = "x'6c696d69'::int"
PROJECT, WORKSPACE = ModifierRole.PROJECT_ADMIN, ModifierRole.WORKSPACE_ADMIN


@pytest.fixture
async def user(core: Core) -> User:
    return await core.world.user()


@pytest.fixture
async def task(core: Core, user: User) -> AsyncIterator[Task]:
    made = await core.world.task(user)
    await core.far.registry.push_empty_image(made.project, "app", "v1")
    yield made
    await core.world.check_counters()


async def held_and_released(world: World, task: Task) -> tuple[int, int]:
    (row,) = await world.rows(
        "SELECT coalesce(sum(held), 0) AS held, coalesce(sum(runnable + active), 0) AS released FROM batches"
        " WHERE project_id = $1",
        task.project,
    )
    return row["held"], row["released"]


async def submit(core: Core, user: User, task: Task, size: int) -> None:
    await core.submission.submit(
        caller(user), str(task.project), str(task.id), "", [request(batch_size=size)]
    )


async def test_a_batch_is_split_by_a_limit(core: Core, user: User, task: Task) -> None:
    await core.limits.put(caller(user), str(task.project), PROJECT, 4)
    await submit(core, user, task, 20)
    assert await held_and_released(core.world, task) == (16, 4)
    agent = await core.world.agent()
    (row,) = await core.world.rows("SELECT batch_no, id FROM batches")
    batch = Batch(row["batch_no"], row["id"], 20, task, "")
    one, _ = await core.world.grant(agent, (batch, 2))
    assert await core.admission.run_once() == 0
    await core.world.report(agent, core.world.start(one), core.world.end(one))
    assert await core.admission.run_once() == 1
    assert await held_and_released(core.world, task) == (15, 4)


async def test_a_retried_job_keeps_its_place(core: Core, user: User, task: Task) -> None:
    await core.limits.put(caller(user), str(task.project), PROJECT, 1)
    (batch,) = await core.world.batches(task, [3], held=True, max_retries=1)
    assert await core.admission.run_once() == 1
    agent = await core.world.agent()
    (grant,) = await core.world.grant(agent, (batch, 3))
    await core.world.report(agent, core.world.end(grant, exit_code=3))
    assert await core.world.statuses(batch) == [2, 0, 0]
    assert await core.admission.run_once() == 0


async def test_raising_lowering_and_removing(core: Core, user: User, task: Task) -> None:
    me, project = caller(user), str(task.project)
    first = await core.limits.put(me, project, PROJECT, 0)
    await submit(core, user, task, 10)
    assert await held_and_released(core.world, task) == (10, 0)
    core.world.clock.step(5)
    second = await core.limits.put(me, project, PROJECT, 3)
    assert (second.id, second.created_at) == (first.id, first.created_at)
    assert second.updated_at > first.updated_at
    assert await held_and_released(core.world, task) == (7, 3)
    await core.limits.change(me, project, first.id, 1)
    assert await held_and_released(core.world, task) == (7, 3)
    await core.limits.remove(me, project, first.id)
    assert await held_and_released(core.world, task) == (0, 10)
    with pytest.raises(NotFound):
        await core.limits.get(me, project, first.id)


async def test_the_smaller_of_project_and_workspace_holds(core: Core, user: User, task: Task) -> None:
    me, admin = caller(user), caller(await core.world.user(admin=True))
    project = str(task.project)
    with pytest.raises(Forbidden, match="takes the role admin"):
        await core.limits.put(me, project, WORKSPACE, 8)
    mine = await core.limits.put(me, project, PROJECT, 6)
    theirs = await core.limits.put(admin, project, WORKSPACE, 5)
    await core.limits.set_workspace("operator:root", user.workspace_id, 4)
    await submit(core, user, task, 20)
    assert await held_and_released(core.world, task) == (16, 4)
    assert [limit.id for limit in await core.limits.list(me, project)] == [mine.id, theirs.id]
    with pytest.raises(Forbidden):
        await core.limits.remove_all(me, project)
    with pytest.raises(Forbidden):
        await core.limits.change(me, project, theirs.id, 100)
    with pytest.raises(Forbidden):
        await core.limits.remove(me, project, theirs.id)
    assert len(await core.limits.list(me, project)) == 2
    await core.limits.set_workspace("operator:root", user.workspace_id, None)
    assert await held_and_released(core.world, task) == (15, 5)
    await core.limits.remove_all(admin, project)
    assert await held_and_released(core.world, task) == (0, 20)
    actions = await core.world.rows("SELECT actor, action, subject, details FROM audit ORDER BY id")
    assert [row["action"] for row in actions] == ["limit.set"] * 3 + ["limit.removed"] * 3
    assert actions[2]["actor"] == "operator:root"
    assert actions[2]["subject"] == f"workspace:{user.workspace_id}"


async def test_a_project_of_the_same_workspace_gets_its_share(core: Core, user: User, task: Task) -> None:
    other = await core.world.task(user)
    await core.limits.set_workspace("operator:root", user.workspace_id, 20)
    await core.world.batches(task, [1000] * 3, held=True)
    await core.world.batches(other, [10], held=True)
    await core.admission.run_once()
    assert await held_and_released(core.world, other) == (0, 10)
    assert await held_and_released(core.world, task) == (2990, 10)


async def test_held_jobs_are_cancelled(core: Core, user: User, task: Task) -> None:
    await core.limits.put(caller(user), str(task.project), PROJECT, 1)
    await submit(core, user, task, 3)
    await core.jobs.cancel(caller(user), str(task.project), str(task.id), None)
    assert await held_and_released(core.world, task) == (0, 0)
    (row,) = await core.world.rows("SELECT count(*) AS n FROM jobs WHERE status = 6")
    assert row["n"] == 3


async def test_invariant_5_a_limit_waits_for_a_submission_that_saw_none(
    core: Core, user: User, task: Task, connect: Any
) -> None:
    """A limit waits for submissions that began before it, and those that come later wait for the limit."""
    blocker = await connect()
    await blocker.execute("BEGIN")
    await blocker.execute(f"SELECT pg_advisory_xact_lock_shared({LIMITS}, hashtext($1))", user.workspace_id)
    setting = asyncio.create_task(core.limits.put(caller(user), str(task.project), PROJECT, 2))
    await until_blocked(core.world)
    submitting = asyncio.create_task(submit(core, user, task, 5))
    await until_blocked(core.world, 2)
    await blocker.execute("COMMIT")
    await asyncio.gather(setting, submitting)
    assert await held_and_released(core.world, task) == (3, 2), "the limit was asked for first"


async def test_invariant_5_a_submission_waits_for_a_limit_in_the_making(
    core: Core, user: User, task: Task, connect: Any
) -> None:
    blocker = await connect()
    await blocker.execute("BEGIN")
    await blocker.execute(f"SELECT pg_advisory_xact_lock({LIMITS}, hashtext($1))", user.workspace_id)
    await blocker.execute(
        "INSERT INTO limits (workspace_id, project_id, modifier_role, vcpus, created_by, created_at, updated_by,"
        " updated_at) VALUES ($1, $2, 'PROJECT_ADMIN', 2, 'u', now(), 'u', now())",
        user.workspace_id,
        task.project,
    )
    submitting = asyncio.create_task(submit(core, user, task, 5))
    await until_blocked(core.world)
    await blocker.execute("COMMIT")
    await submitting
    assert await held_and_released(core.world, task) == (3, 2)


async def test_invariant_5_two_admissions_at_once_release_no_more_than_one(
    core: Core, user: User, task: Task, connect: Any
) -> None:
    await core.limits.put(caller(user), str(task.project), PROJECT, 4)
    await core.world.batches(task, [100], held=True)
    blocker = await connect()
    await blocker.execute("BEGIN")
    await blocker.execute("SELECT pg_advisory_xact_lock(x'61646d69'::int, hashtext($1))", user.workspace_id)
    both = [asyncio.create_task(core.admission.run_once()) for _ in range(2)]
    await until_blocked(core.world, 2)
    await blocker.execute("COMMIT")
    assert sorted(await asyncio.gather(*both)) == [0, 4]
    assert await held_and_released(core.world, task) == (96, 4)


async def test_invariant_5_is_never_exceeded_with_two_servers_and_many_agents(
    core: Core, user: User, task: Task
) -> None:
    """Sampled from outside while submissions, admissions, leases and ends go on."""
    limit, jobs = 7, 300
    await core.limits.put(caller(user), str(task.project), PROJECT, limit)
    other = Submission(
        core.world.database, core.images, Admission(core.world.database, core.world.clock), core.world.clock
    )
    over: list[int] = []

    async def watch() -> None:
        while True:
            (row,) = await core.world.rows(
                "SELECT coalesce(sum((runnable + active) * vcpus), 0) AS n FROM batches"
            )
            if row["n"] > limit:
                over.append(row["n"])

    async def submit_all(submission: Submission) -> None:
        for _ in range(5):
            await submission.submit(
                caller(user), str(task.project), str(task.id), "", [request(batch_size=jobs // 10)]
            )

    async def run(agent: int) -> int:
        done = 0
        while (await held_and_released(core.world, task)) != (0, 0) or done == 0:
            batches = await core.world.rows("SELECT batch_no, id FROM batches WHERE runnable > 0 LIMIT 2")
            for row in batches:
                batch = Batch(row["batch_no"], row["id"], 1, task, "")
                for grant in await core.world.grant(agent, (batch, 3)):
                    await core.world.report(agent, core.world.start(grant), core.world.end(grant))
                    done += 1
            await core.admission.run_once()
        return done

    watching = asyncio.create_task(watch())
    submitting = [asyncio.create_task(submit_all(one)) for one in (core.submission, other)]
    await asyncio.gather(*submitting)
    agents = [await core.world.agent() for _ in range(4)]
    done = await asyncio.gather(*map(run, agents))
    watching.cancel()
    assert sum(done) == jobs
    assert over == []


async def test_workspaces_are_locked_apart(core: Core, connect: Any) -> None:
    """An admission of one workspace does not wait for another's."""
    blocker = await connect()
    await blocker.execute("BEGIN")
    await admission.lock(blocker, "somewhere else")
    user = await core.world.user()
    task = await core.world.task(user)
    await core.world.batches(task, [2], held=True)
    assert await core.admission.run_once() == 2
