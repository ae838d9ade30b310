"""Tasks archived, restored and deleted by people, alone and while others submit jobs."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from openhtc.domain.enums import LifecycleStatus, Outcome
from openhtc.domain.errors import Forbidden, InvalidRequest, NotFound
from openhtc.domain.identity import Caller, JobScope
from openhtc.domain.submission import JobDefinition, JobSubmitRequest
from openhtc.services.task_life import TaskLife

from ..world import Task, World, caller, until_blocked
from .conftest import Core

Connect = Callable[[], Awaitable[asyncpg.Connection]]
ACTIVE, ARCHIVED, DELETED = LifecycleStatus.ACTIVE, LifecycleStatus.ARCHIVED, LifecycleStatus.DELETED
RUNNABLE, STARTING, FAILED = 2, 3, 6


@pytest.fixture
def life(world: World) -> TaskLife:
    return TaskLife(world.database, world.cancelling, world.clock)


def ids(task: Task) -> tuple[str, str]:
    return str(task.project), str(task.id)


async def last_active(world: World, task: Task) -> datetime:
    (row,) = await world.rows("SELECT last_active_at FROM tasks WHERE id = $1", task.id)
    found: datetime = row["last_active_at"]
    return found


async def audited(world: World) -> list[tuple[str, str, str]]:
    rows = await world.rows("SELECT actor, action, subject FROM audit ORDER BY id")
    return [(row["actor"], row["action"], row["subject"]) for row in rows]


async def test_archive_and_restore(world: World, life: TaskLife) -> None:
    user = await world.user()
    task = await world.task(user)
    made_at = world.clock()
    world.clock.step(10)
    archived = await life.change(caller(user), *ids(task), ARCHIVED)
    assert (archived.lifecycle, archived.archived_at) == (ARCHIVED, world.clock())
    assert archived.last_active_at == made_at
    world.clock.step(10)
    restored = await life.change(caller(user), *ids(task), ACTIVE)
    assert (restored.lifecycle, restored.archived_at, restored.deleted_at) == (ACTIVE, None, None)
    assert restored.last_active_at == world.clock()
    assert await audited(world) == [
        (user.id, "task.archive", f"task:{task.id}"),
        (user.id, "task.restore", f"task:{task.id}"),
    ]


async def test_unfinished_jobs_keep_a_task_active(world: World, life: TaskLife) -> None:
    user = await world.user()
    task = await world.task(user)
    batch = await world.batch(task, 2)
    agent = await world.agent()
    (first,) = await world.grant(agent, (batch, 1))
    with pytest.raises(InvalidRequest, match="2 of this task's have not ended") as caught:
        await life.change(caller(user), *ids(task), ARCHIVED)
    assert caught.value.code == "TASK_HAS_UNFINISHED_JOBS"
    await world.report(agent, world.end(first))
    with pytest.raises(InvalidRequest, match="1 of this task's"):
        await life.change(caller(user), *ids(task), ARCHIVED)
    await world.cancel(task)
    assert (await life.change(caller(user), *ids(task), ARCHIVED)).lifecycle is ARCHIVED


async def test_deleting_cancels_and_says_the_same_again(world: World, life: TaskLife) -> None:
    user = await world.user()
    task = await world.task(user)
    batch = await world.batch(task, 2)
    agent = await world.agent()
    (running,) = await world.grant(agent, (batch, 1))
    world.clock.step(10)
    deleted = await life.delete(caller(user), *ids(task))
    assert (deleted.lifecycle, deleted.archived_at, deleted.deleted_at) == (DELETED, None, world.clock())
    assert await world.statuses(batch) == [STARTING, FAILED]
    assert (await world.job(batch))["cancelled_at"] == world.clock()
    assert (await world.report(agent, held=[running.lease])).stop == [running.lease]
    world.clock.step(10)
    assert await life.delete(caller(user), *ids(task)) == deleted
    await world.report(agent, world.end(running, Outcome.CANCELLED))
    assert await world.statuses(batch) == [FAILED, FAILED]
    assert await life.delete(caller(user), *ids(task)) == deleted
    await world.check_counters()
    assert await audited(world) == [(user.id, "task.delete", f"task:{task.id}")]
    for wanted in LifecycleStatus:
        with pytest.raises(InvalidRequest, match="final"):
            await life.change(caller(user), *ids(task), wanted)


async def test_who_may(world: World, life: TaskLife) -> None:
    owner, member = await world.user(), await world.user()
    project_owner, admin = await world.user(), await world.user(admin=True)
    stranger = await world.user("20-2000000", admin=True)
    task = await world.task(owner, (await world.task(project_owner)).project)
    job = Caller(owner, JobScope(task.project, task.id, uuid4(), 0))
    for who in (caller(member), caller(project_owner), caller(stranger), job):
        with pytest.raises(Forbidden):
            await life.change(who, *ids(task), ARCHIVED)
        with pytest.raises(Forbidden):
            await life.delete(who, *ids(task))
    assert (await world.rows("SELECT archived_at, deleted_at FROM tasks WHERE id = $1", task.id)) == [
        {"archived_at": None, "deleted_at": None}
    ]
    await life.change(caller(owner), *ids(task), ARCHIVED)
    await life.change(caller(admin), *ids(task), ACTIVE)
    assert (await life.delete(caller(admin), *ids(task))).lifecycle is DELETED


async def test_unknown_tasks(world: World, life: TaskLife) -> None:
    user = await world.user()
    task, elsewhere = await world.task(user), await world.task(user)
    for task_id in (str(uuid4()), "x", str(elsewhere.id)):
        with pytest.raises(NotFound):
            await life.delete(caller(user), str(task.project), task_id)
        with pytest.raises(NotFound):
            await life.change(caller(user), str(task.project), task_id, ARCHIVED)


async def test_what_moves_the_last_activity(world: World, life: TaskLife) -> None:
    user = await world.user()
    task = await world.task(user)
    world.clock.step(10)
    batch = await world.batch(task)
    assert await last_active(world, task) == world.clock()
    agent = await world.agent()
    (grant,) = await world.grant(agent, (batch, 1))
    submitted_at = world.clock()
    world.clock.step(10)
    await world.report(agent, world.start(grant))
    assert await last_active(world, task) == submitted_at
    world.clock.step(10)
    await world.report(agent, world.end(grant))
    assert await last_active(world, task) == world.clock()
    ended_at = world.clock()
    world.clock.step(10)
    await life.change(caller(user), *ids(task), ARCHIVED)
    assert await last_active(world, task) == ended_at


class Submitter:
    """A user who may submit to a task through the service, with an image that exists."""

    def __init__(self, core: Core, who: Caller, task: Task) -> None:
        self._core, self._who, self._task = core, who, task

    async def prepare(self) -> None:
        await self._core.far.registry.push_empty_image(self._task.project, "app", "v1")

    async def submit(self) -> Any:
        request = JobSubmitRequest(JobDefinition("app:v1"))
        return await self._core.submission.submit(self._who, *ids(self._task), "", [request])


@pytest.fixture
async def submitter(core: Core) -> tuple[Submitter, Caller, Task]:
    user = await core.world.user()
    task = await core.world.task(user)
    made = Submitter(core, caller(user), task)
    await made.prepare()
    return made, caller(user), task


Change = Callable[[TaskLife, Caller, Task], Awaitable[object]]


async def archive(life: TaskLife, who: Caller, task: Task) -> object:
    return await life.change(who, *ids(task), ARCHIVED)


async def delete(life: TaskLife, who: Caller, task: Task) -> object:
    return await life.delete(who, *ids(task))


@pytest.mark.parametrize(("change", "state"), [(archive, ARCHIVED), (delete, DELETED)])
async def test_nothing_is_submitted_to_a_task_that_is_not_active(
    core: Core, submitter: tuple[Submitter, Caller, Task], life: TaskLife, change: Change, state: str
) -> None:
    submits, who, task = submitter
    await change(life, who, task)
    with pytest.raises(InvalidRequest, match=f"is {state}") as caught:
        await submits.submit()
    assert caught.value.code == "TASK_NOT_ACTIVE"
    assert await core.world.rows("SELECT * FROM batches") == []


@pytest.mark.parametrize("change", [archive, delete])
async def test_a_submission_that_comes_second_is_refused(
    core: Core,
    submitter: tuple[Submitter, Caller, Task],
    life: TaskLife,
    connect: Connect,
    change: Change,
) -> None:
    submits, who, task = submitter
    other = await connect()
    async with other.transaction():
        await other.execute("SELECT 1 FROM tasks WHERE id = $1 FOR NO KEY UPDATE", task.id)
        changing = asyncio.create_task(change(life, who, task))
        await until_blocked(core.world)
        submitting = asyncio.create_task(submits.submit())
        await until_blocked(core.world, 2)
    await changing
    with pytest.raises(InvalidRequest, match="expected ACTIVE"):
        await submitting
    assert await core.world.rows("SELECT * FROM batches") == []
    await core.world.check_counters()


async def test_an_archiving_that_comes_second_is_refused(
    core: Core, submitter: tuple[Submitter, Caller, Task], life: TaskLife, connect: Connect
) -> None:
    submits, who, task = submitter
    other = await connect()
    async with other.transaction():
        await other.execute("SELECT 1 FROM tasks WHERE id = $1 FOR NO KEY UPDATE", task.id)
        submitting = asyncio.create_task(submits.submit())
        await until_blocked(core.world)
        archiving = asyncio.create_task(archive(life, who, task))
        await until_blocked(core.world, 2)
    await submitting
    with pytest.raises(InvalidRequest, match="1 of this task's have not ended"):
        await archiving
    assert await core.world.rows("SELECT archived_at FROM tasks") == [{"archived_at": None}]


async def test_a_deletion_that_comes_second_cancels_what_was_submitted(
    core: Core, submitter: tuple[Submitter, Caller, Task], life: TaskLife, connect: Connect
) -> None:
    submits, who, task = submitter
    other = await connect()
    async with other.transaction():
        await other.execute("SELECT 1 FROM tasks WHERE id = $1 FOR NO KEY UPDATE", task.id)
        submitting = asyncio.create_task(submits.submit())
        await until_blocked(core.world)
        deleting = asyncio.create_task(delete(life, who, task))
        await until_blocked(core.world, 2)
    await submitting
    await deleting
    assert await core.world.rows("SELECT status, reason FROM jobs") == [
        {"status": FAILED, "reason": "Cancelled by user"}
    ]
    await core.world.check_counters()


async def test_archivings_at_once_end_with_one(world: World, life: TaskLife, connect: Connect) -> None:
    user = await world.user()
    task = await world.task(user)
    other = await connect()
    async with other.transaction():
        await other.execute("SELECT 1 FROM tasks WHERE id = $1 FOR NO KEY UPDATE", task.id)
        both = [asyncio.create_task(archive(life, caller(user), task)) for _ in range(2)]
        await until_blocked(world, 2)
    results = await asyncio.gather(*both, return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["InvalidRequest", "Task"]
    assert len(await audited(world)) == 1
