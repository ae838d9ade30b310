"""Who reaches which projects, tasks and jobs."""

from collections.abc import Awaitable, Callable
from uuid import uuid4

import pytest

from openhtc.domain.enums import SortOrder
from openhtc.domain.errors import Forbidden, NotFound
from openhtc.domain.identity import Caller, JobScope, User
from openhtc.services.jobs import Wanted

from ..world import Batch, Task, caller
from .conftest import Core

Operations = dict[str, Callable[[], Awaitable[object]]]


async def running_job(core: Core, user: User) -> tuple[Task, Batch]:
    task = await core.world.task(user)
    batch = await core.world.batch(task)
    await core.world.grant(await core.world.agent(), (batch, 1))
    return task, batch


def as_job(user: User, task: Task, batch: Batch) -> Caller:
    return Caller(user, JobScope(task.project, task.id, batch.id, 0))


OF_THE_PROJECT = ("project", "keys of the project", "upload to the project")
"""Open to the jobs of all its tasks."""


def reads(core: Core, who: Caller, task: Task, batch: Batch) -> Operations:
    """Every reading operation on a task, not yet awaited."""
    p, t, j = str(task.project), str(task.id), f"{batch.id}:0"
    return {
        "project": lambda: core.projects.get(who, p),
        "task": lambda: core.tasks.get(who, p, t),
        "jobs": lambda: core.jobs.page(who, p, t, Wanted(), None, 10),
        "job": lambda: core.jobs.get(who, p, t, j),
        "events": lambda: core.jobs.events(who, p, t, j, None, 10),
        "logs": lambda: core.logs.page(who, p, t, j, SortOrder.ASC, None, 10),
        "counts": lambda: core.jobs.counts(who, p, t),
        "groups": lambda: core.jobs.groups(who, p, t, None, None, 10),
        "keys of the project": lambda: core.storage.of_project(who, p),
        "keys of the task": lambda: core.storage.of_task(who, p, t),
        "upload to the task": lambda: core.storage.presign_task(who, p, t, "a"),
        "upload to the project": lambda: core.storage.presign_project(who, p, "a"),
    }


def writes(core: Core, who: Caller, task: Task) -> Operations:
    p, t = str(task.project), str(task.id)
    return {
        "submit": lambda: core.submission.submit(who, p, t, "", []),
        "cancel": lambda: core.jobs.cancel(who, p, t, None),
        "new task": lambda: core.tasks.create(who, p, "t", ""),
        "tasks": lambda: core.tasks.page(who, p, None, 10),
        "images": lambda: core.images.list(who, p),
        "image": lambda: core.images.require(who, p, "a:b"),
        "repository": lambda: core.images.create_repository(who, p, "a"),
        "registry password": lambda: core.registry.password(who, p),
    }


async def test_invariant_8_another_workspace_is_out_of_reach(core: Core) -> None:
    task, batch = await running_job(core, await core.world.user())
    stranger = caller(await core.world.user("20-2000000", admin=True))
    everything = {**reads(core, stranger, task, batch), **writes(core, stranger, task)}
    for name, operation in everything.items():
        with pytest.raises(Forbidden):
            await operation()
            pytest.fail(name)
    assert await core.world.statuses(batch) == [3]


async def test_invariant_8_a_job_reads_its_own_task_and_nothing_else(core: Core) -> None:
    user = await core.world.user()
    task, batch = await running_job(core, user)
    sibling = await core.world.task(user, task.project)
    sibling_batch = await core.world.batch(sibling)
    other, other_batch = await running_job(core, user)
    me = as_job(user, task, batch)
    core.world.clock.step(1)
    await core.world.rows(
        "UPDATE jobs SET status = 6, lease = NULL, ended_at = now() WHERE batch_no = $1", batch.no
    )
    for name, operation in reads(core, me, task, batch).items():
        assert await operation() is not None, name
    for name, operation in writes(core, me, task).items():
        with pytest.raises(Forbidden):
            await operation()
            pytest.fail(name)
    for elsewhere, its_batch in ((sibling, sibling_batch), (other, other_batch)):
        for name, operation in reads(core, me, elsewhere, its_batch).items():
            if elsewhere is sibling and name in OF_THE_PROJECT:
                continue
            with pytest.raises(Forbidden):
                await operation()
                pytest.fail(name)
    for operation in (
        lambda: core.projects.create(me, "p", "", []),
        lambda: core.projects.page(me, False, None, 10),
    ):
        with pytest.raises(Forbidden):
            await operation()


async def test_a_member_sees_jobs_of_others_but_neither_events_nor_logs(core: Core) -> None:
    owner, member = await core.world.user(), await core.world.user()
    admin = await core.world.user(admin=True)
    task = await core.world.task(owner)
    batch = await core.world.batch(task)
    await core.world.rows("UPDATE jobs SET status = 6, ended_at = now()")
    for who, allowed in ((owner, True), (admin, True), (member, False)):
        for name, operation in reads(core, caller(who), task, batch).items():
            if allowed or name not in ("events", "logs"):
                await operation()
            else:
                with pytest.raises(Forbidden):
                    await operation()


async def test_a_cancel_reaches_what_the_caller_owns(core: Core) -> None:
    owner, member = await core.world.user(), await core.world.user()
    stranger, admin = await core.world.user(), await core.world.user(admin=True)
    task = await core.world.task(owner)
    p, t = str(task.project), str(task.id)
    his = await core.world.batch(task, created_by=owner.id)
    hers = await core.world.batch(task, created_by=member.id)
    with pytest.raises(Forbidden):
        await core.jobs.cancel(caller(stranger), p, t, None)
    await core.jobs.cancel(caller(member), p, t, None)
    assert (await core.world.statuses(his), await core.world.statuses(hers)) == ([2], [6])
    await core.jobs.cancel(caller(owner), p, t, "unknown group")
    assert await core.world.statuses(his) == [2]
    await core.jobs.cancel(caller(admin), p, t, None)
    assert await core.world.statuses(his) == [6]
    await core.jobs.cancel(caller(owner), p, t, None)


@pytest.mark.parametrize("text", ["", "x", "00000000-0000-0000-0000-000000000000", "é", "' OR 1=1"])
async def test_what_does_not_exist_is_not_found(core: Core, text: str) -> None:
    user = await core.world.user()
    task = await core.world.task(user)
    me = caller(user)
    with pytest.raises(NotFound):
        await core.projects.get(me, text)
    with pytest.raises(NotFound):
        await core.tasks.get(me, str(task.project), text)
    for job in (text, f"{text}:0", f"{uuid4()}:0", f"{uuid4()}:-1", f"{uuid4()}:99999999999"):
        with pytest.raises(NotFound):
            await core.jobs.get(me, str(task.project), str(task.id), job)


async def test_a_task_is_found_in_its_own_project_only(core: Core) -> None:
    user = await core.world.user()
    task, other = await core.world.task(user), await core.world.task(user)
    with pytest.raises(NotFound):
        await core.tasks.get(caller(user), str(other.project), str(task.id))


async def test_a_job_is_found_in_its_own_task_only(core: Core) -> None:
    user = await core.world.user()
    task = await core.world.task(user)
    other = await core.world.task(user, task.project)
    batch = await core.world.batch(task)
    with pytest.raises(NotFound):
        await core.jobs.get(caller(user), str(task.project), str(other.id), f"{batch.id}:0")
