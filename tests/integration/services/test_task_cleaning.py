"""Tasks archived and deleted because of a policy, and the files that deleted tasks leave behind."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg
import pytest

from openhtc.domain.enums import LifecycleStatus, Outcome
from openhtc.domain.errors import Unavailable
from openhtc.domain.identity import User
from openhtc.domain.retention import LATE_WRITES, MAX_HOURS
from openhtc.embedded.ports import choose
from openhtc.objects import ObjectStore
from openhtc.services.cleaning import ACTOR, StorageRelease, TaskArchival, TaskDeletion
from openhtc.services.retention import Retention
from openhtc.services.task_life import TaskLife

from ..world import Task, World, caller, until_blocked
from .conftest import Far

Connect = Callable[[], Awaitable[asyncpg.Connection]]
HOUR = 3600.0
ACTIVE, ARCHIVED, DELETED = LifecycleStatus.ACTIVE, LifecycleStatus.ARCHIVED, LifecycleStatus.DELETED


@dataclass
class House:
    """A workspace with its admin, who owns every task, and the duties that look after tasks."""

    world: World
    admin: User

    def __post_init__(self) -> None:
        database, clock = self.world.database, self.world.clock
        self.policies, self.life = (
            Retention(database, clock),
            TaskLife(database, self.world.cancelling, clock),
        )
        self.archival, self.deletion = TaskArchival(database, clock), TaskDeletion(database, clock)

    async def policy(self, archive_after: int, delete_after: int) -> None:
        await self.policies.set_for_workspace(
            caller(self.admin), self.admin.workspace_id, archive_after, delete_after
        )

    async def project_policy(self, task: Task, archive_after: int, delete_after: int) -> None:
        await self.policies.set_for_project(
            caller(self.admin), str(task.project), archive_after, delete_after
        )

    async def change(self, task: Task, wanted: LifecycleStatus) -> None:
        await self.life.change(caller(self.admin), str(task.project), str(task.id), wanted)

    async def delete(self, task: Task) -> None:
        await self.life.delete(caller(self.admin), str(task.project), str(task.id))

    async def row(self, task: Task) -> dict[str, Any]:
        return (await self.world.rows("SELECT * FROM tasks WHERE id = $1", task.id))[0]

    async def state(self, task: Task) -> LifecycleStatus:
        row = await self.row(task)
        if row["deleted_at"] is not None:
            return DELETED
        return ACTIVE if row["archived_at"] is None else ARCHIVED

    async def after(self, hours: float, *tasks: Task) -> list[LifecycleStatus]:
        """The states of the tasks when the time has passed and the duties have had their turn."""
        self.world.clock.step(hours * HOUR)
        await self.archival.run_once()
        await self.deletion.run_once()
        return [await self.state(task) for task in tasks]


@pytest.fixture
async def house(world: World) -> House:
    return House(world, await world.user(admin=True))


async def test_c35_the_life_of_an_idle_task(house: House) -> None:
    task = await house.world.task(house.admin)
    assert await house.after(1000, task) == [ACTIVE], "there is no policy"
    await house.change(task, ARCHIVED)
    await house.change(task, ACTIVE)
    await house.policy(1, 2)
    assert await house.after(1 - 1 / HOUR, task) == [ACTIVE]
    assert await house.after(1 / HOUR, task) == [ARCHIVED]
    assert (await house.row(task))["archived_at"] == house.world.clock()
    assert await house.after(2 - 1 / HOUR, task) == [ARCHIVED]
    assert await house.after(1 / HOUR, task) == [DELETED]
    assert (await house.row(task))["deleted_at"] == house.world.clock()
    before = await house.row(task)
    assert await house.after(1000, task) == [DELETED]
    assert await house.row(task) == before
    (entry,) = await house.world.rows(
        "SELECT actor, subject, details FROM audit WHERE action = 'task.delete'"
    )
    assert entry == {"actor": ACTOR, "subject": f"task:{task.id}", "details": {"deleteAfter": 2}}


async def test_c35_a_project_s_zero_stands_for_the_workspace_s_number(house: House) -> None:
    general, own = await house.world.task(house.admin), await house.world.task(house.admin)
    await house.policy(1, 1)
    await house.project_policy(own, 0, 0)
    assert await house.after(1, general, own) == [ARCHIVED, ACTIVE]
    await house.change(own, ARCHIVED)
    assert await house.after(1, general, own) == [DELETED, ARCHIVED]
    assert await house.after(MAX_HOURS / 1e5, own) == [ARCHIVED]
    await house.policies.clear_for_project(caller(house.admin), str(own.project))
    assert await house.after(0, own) == [DELETED], "the workspace's applies again"


async def test_a_project_s_number_stands_for_the_workspace_s_zero(house: House) -> None:
    own, general = await house.world.task(house.admin), await house.world.task(house.admin)
    await house.policy(0, 0)
    await house.project_policy(own, 3, 0)
    assert await house.after(3, own, general) == [ARCHIVED, ACTIVE]
    assert await house.after(3000, own, general) == [ARCHIVED, ACTIVE]


async def test_another_workspace_s_policy_reaches_nothing(house: House) -> None:
    elsewhere = await house.world.task(await house.world.user("20-2000000"))
    await house.policy(1, 1)
    assert await house.after(10, elsewhere) == [ACTIVE]


async def test_the_largest_number_of_hours_is_never_reached(house: House) -> None:
    task = await house.world.task(house.admin)
    await house.policy(MAX_HOURS, MAX_HOURS)
    assert await house.after(24 * 365, task) == [ACTIVE]
    await house.change(task, ARCHIVED)
    assert await house.after(24 * 365, task) == [ARCHIVED]


async def test_restoring_cancels_the_pending_deletion(house: House) -> None:
    task = await house.world.task(house.admin)
    await house.policy(5, 2)
    assert await house.after(5, task) == [ARCHIVED]
    await house.after(1)
    await house.change(task, ACTIVE)
    assert await house.after(4, task) == [ACTIVE], "neither the deletion nor the old idle time counts"
    assert await house.after(1, task) == [ARCHIVED]
    assert await house.after(1, task) == [ARCHIVED]
    assert await house.after(1, task) == [DELETED]


async def test_unfinished_jobs_keep_a_task(house: House) -> None:
    world = house.world
    waiting, running, idle = [await world.task(house.admin) for _ in range(3)]
    await world.batch(waiting)
    await world.batch(idle)
    await world.cancel(idle)
    batch = await world.batch(running)
    await house.policy(1, 0)
    agent = await world.agent()
    (grant,) = await world.grant(agent, (batch, 1))
    assert await house.after(100, waiting, running, idle) == [ACTIVE, ACTIVE, ARCHIVED]
    await world.report(agent, world.end(grant, Outcome.EXITED))
    assert await house.after(0.5, running) == [ACTIVE], "the end of its job was activity"
    assert await house.after(0.5, running) == [ARCHIVED]


async def test_a_submission_under_way_keeps_a_task(house: House, connect: Connect) -> None:
    world = house.world
    task, free = await world.task(house.admin), await world.task(house.admin)
    await house.policy(1, 0)
    other = await connect()
    async with other.transaction():
        await other.execute("SELECT 1 FROM tasks WHERE id = $1 FOR NO KEY UPDATE", task.id)
        submitting = asyncio.create_task(world.batch(task))
        await until_blocked(world)
        assert await asyncio.wait_for(house.after(1, task, free), 10) == [ACTIVE, ARCHIVED]
    await submitting
    assert await house.after(100, task) == [ACTIVE]


async def test_many_tasks_and_several_servers(house: House) -> None:
    world = house.world
    first = await world.task(house.admin)
    for _ in range(249):
        await world.task(house.admin, first.project)
    await house.policy(1, 1)
    world.clock.step(HOUR)
    others = [TaskArchival(world.database, world.clock) for _ in range(2)]
    archived = await asyncio.gather(house.archival.run_once(), *(each.run_once() for each in others))
    assert sum(archived) + await house.archival.run_once() == 250
    world.clock.step(HOUR)
    deletions = [TaskDeletion(world.database, world.clock) for _ in range(3)]
    deleted = await asyncio.gather(*(each.run_once() for each in deletions))
    assert sum(deleted) + await house.deletion.run_once() == 250
    (audited,) = await world.rows(
        "SELECT count(*) AS n, count(DISTINCT subject) AS tasks FROM audit WHERE action = 'task.delete'"
    )
    assert (audited["n"], audited["tasks"]) == (250, 250)


def folder(task: Task) -> str:
    return f"projects/{task.project}/tasks/{task.id}/"


async def keys(store: ObjectStore, prefix: str) -> set[str]:
    return {found.key.removeprefix(prefix) async for page in store.list(prefix) for found in page}


@pytest.fixture
def release(world: World, far: Far) -> StorageRelease:
    return StorageRelease(world.database, lambda: [far.objects], world.clock)


async def dates(house: House, task: Task) -> tuple[datetime | None, datetime | None]:
    row = await house.row(task)
    return row["storage_freed_at"], row["storage_due_at"]


async def test_a_deleted_task_s_files_go_and_no_others(
    house: House, far: Far, release: StorageRelease
) -> None:
    world, store = house.world, far.objects
    task = await world.task(house.admin)
    sibling = await world.task(house.admin, task.project)
    project = f"projects/{task.project}/"
    for key in ("a", "b/c/d", "b/e"):
        await store.put(folder(task) + key, b"x")
        await store.put(folder(sibling) + key, b"x")
    await store.put(f"{project}shared/a", b"x")
    await store.put(f"{project}tasks/{task.id}0/a", b"x")
    assert await release.run_once() == 0
    await house.change(task, ARCHIVED)
    assert await release.run_once() == 0
    await house.delete(task)
    assert await release.run_once() == 3
    assert await keys(store, project) == {
        *(f"tasks/{sibling.id}/{key}" for key in ("a", "b/c/d", "b/e")),
        "shared/a",
        f"tasks/{task.id}0/a",
    }
    freed_at, due_at = await dates(house, task)
    assert (freed_at, due_at) == (world.clock(), world.clock() + LATE_WRITES)


async def test_what_late_keys_write_goes_too(house: House, far: Far, release: StorageRelease) -> None:
    world, task = house.world, await house.world.task(house.admin)
    await house.delete(task)
    await release.run_once()
    await far.objects.put(folder(task) + "late", b"x")
    world.clock.step(LATE_WRITES.total_seconds() - 1)
    assert await release.run_once() == 0
    world.clock.step(1)
    assert await release.run_once() == 1
    assert await keys(far.objects, folder(task)) == set()
    assert await dates(house, task) == (world.clock(), None)
    world.clock.step(1e6)
    assert await release.run_once() == 0


async def test_files_stay_while_a_job_is_being_stopped(
    house: House, far: Far, release: StorageRelease
) -> None:
    world, task = house.world, await house.world.task(house.admin)
    batch = await world.batch(task)
    agent = await world.agent()
    (grant,) = await world.grant(agent, (batch, 1))
    await far.objects.put(folder(task) + "a", b"x")
    await house.delete(task)
    assert await release.run_once() == 0
    await world.report(agent, world.end(grant, Outcome.CANCELLED))
    world.clock.step(60)
    assert await release.run_once() == 1


AWKWARD = ["line\nbreak", "a//b", "folder/", " ", "%2F", "a&<b>'\"", "é☃", "control\x01", "..."]


async def test_files_with_awkward_names(house: House, far: Far, release: StorageRelease) -> None:
    task = await house.world.task(house.admin)
    removal = far.objects.removal
    for name in AWKWARD:
        await asyncio.to_thread(
            removal._client.put_object, Bucket=far.objects.bucket, Key=folder(task) + name, Body=b"x"
        )
    await house.delete(task)
    assert await release.run_once() == len(AWKWARD)
    assert await removal.remove_below(folder(task)) == 0


async def test_several_stores_and_more_files_than_a_page(house: House, far: Far) -> None:
    world, store = house.world, far.objects
    task, other = await world.task(house.admin), await world.task(house.admin)
    for n in range(0, 1100, 100):
        await asyncio.gather(*(store.put(f"{folder(task)}{m}", b"x") for m in range(n, n + 100)))
    await store.put(folder(other) + "a", b"x")
    await house.delete(task)
    await house.delete(other)
    release = StorageRelease(world.database, lambda: [store, store], world.clock)
    removed = 0
    while found := await release.run_once():
        removed += found
    assert removed == 1101
    for each in (task, other):
        assert await keys(store, folder(each)) == set()
        assert (await dates(house, each))[0] == world.clock()


async def test_a_store_that_is_away_is_asked_again_and_holds_up_nobody(house: House, far: Far) -> None:
    world = house.world
    first = await world.task(house.admin)
    await house.delete(first)
    nobody = f"http://127.0.0.1:{choose(set())}"
    store = ObjectStore(
        endpoint=nobody,
        region="us-east-1",
        bucket="htc",
        access_key="a",
        secret_key="b",
        sts_endpoint=nobody,
        sts_role_arn="arn:aws:iam::role/x",
    )
    stores = [store]
    release = StorageRelease(world.database, lambda: stores, world.clock)
    with pytest.raises(Unavailable):
        await release.run_once()
    assert (await dates(house, first))[0] is None
    stores[:] = [far.objects]
    second = await world.task(house.admin)
    await house.delete(second)
    await release.run_once()
    assert [(await dates(house, task))[0] is None for task in (first, second)] == [True, False]
    world.clock.step(60)
    await release.run_once()
    assert (await dates(house, first))[0] == world.clock()
