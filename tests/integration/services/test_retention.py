"""Who sets which retention policy, and what is remembered of it."""

from collections.abc import Awaitable, Callable
from uuid import uuid4

import pytest

from openhtc.domain.errors import Forbidden, NotFound
from openhtc.domain.identity import Caller, JobScope, User
from openhtc.services.retention import Retention

from ..world import Task, World, caller


@pytest.fixture
def retention(world: World) -> Retention:
    return Retention(world.database, world.clock)


async def audited(world: World) -> list[tuple[str, str, str, dict[str, int]]]:
    rows = await world.rows("SELECT actor, action, subject, details FROM audit ORDER BY id")
    return [(row["actor"], row["action"], row["subject"], row["details"]) for row in rows]


async def test_a_project_s_policy(world: World, retention: Retention) -> None:
    owner = await world.user()
    task = await world.task(owner)
    me, project = caller(owner), str(task.project)
    with pytest.raises(NotFound, match="the workspace's applies"):
        await retention.of_project(me, project)
    first = await retention.set_for_project(me, project, 24, 168)
    assert (first.archive_after, first.delete_after, first.created_at) == (24, 168, world.clock())
    world.clock.step(60)
    second = await retention.set_for_project(me, project, 0, 1)
    assert await retention.of_project(me, project) == second
    assert (second.archive_after, second.delete_after, second.created_at) == (0, 1, world.clock())
    await retention.clear_for_project(me, project)
    for operation in (retention.of_project, retention.clear_for_project):
        with pytest.raises(NotFound):
            await operation(me, project)
    whose = f"project:{project}"
    assert await audited(world) == [
        (owner.id, "retention.set", whose, {"archiveAfter": 24, "deleteAfter": 168}),
        (owner.id, "retention.set", whose, {"archiveAfter": 0, "deleteAfter": 1}),
        (owner.id, "retention.clear", whose, {"archiveAfter": 0, "deleteAfter": 1}),
    ]


async def test_a_workspace_s_policy(world: World, retention: Retention) -> None:
    admin, member = await world.user(admin=True), await world.user()
    workspace = admin.workspace_id
    with pytest.raises(NotFound):
        await retention.of_workspace(caller(member), workspace)
    made = await retention.set_for_workspace(caller(admin), workspace, 1, 2)
    assert await retention.of_workspace(caller(member), workspace) == made
    task = await world.task(member)
    with pytest.raises(NotFound):
        await retention.of_project(caller(member), str(task.project))
    assert await audited(world) == [
        (admin.id, "retention.set", f"workspace:{workspace}", {"archiveAfter": 1, "deleteAfter": 2})
    ]


def operations(retention: Retention, who: Caller, task: Task) -> dict[str, Callable[[], Awaitable[object]]]:
    project, workspace = str(task.project), task.workspace
    return {
        "get project": lambda: retention.of_project(who, project),
        "set project": lambda: retention.set_for_project(who, project, 1, 1),
        "clear project": lambda: retention.clear_for_project(who, project),
        "get workspace": lambda: retention.of_workspace(who, workspace),
        "set workspace": lambda: retention.set_for_workspace(who, workspace, 1, 1),
    }


async def refused(who: dict[str, Callable[[], Awaitable[object]]]) -> set[str]:
    found = set()
    for name, operation in who.items():
        try:
            await operation()
        except Forbidden:
            found.add(name)
    return found


async def test_who_may_what(world: World, retention: Retention) -> None:
    owner, member, admin = await world.user(), await world.user(), await world.user(admin=True)
    stranger = await world.user("20-2000000", admin=True)
    task = await world.task(owner)

    async def set_both() -> None:
        await retention.set_for_workspace(caller(admin), task.workspace, 1, 1)
        await retention.set_for_project(caller(admin), str(task.project), 1, 1)

    async def refused_to(who: User | Caller) -> set[str]:
        await set_both()
        return await refused(operations(retention, who if isinstance(who, Caller) else caller(who), task))

    assert await refused_to(admin) == set()
    assert await refused_to(owner) == {"set workspace"}
    assert await refused_to(member) == {"set project", "clear project", "set workspace"}
    job = Caller(owner, JobScope(task.project, task.id, uuid4(), 0))
    assert await refused_to(job) == await refused_to(stranger) == set(operations(retention, job, task))


async def test_what_is_refused_changes_nothing(world: World, retention: Retention) -> None:
    owner, member = await world.user(), await world.user()
    task = await world.task(owner)
    before = await retention.set_for_project(caller(owner), str(task.project), 5, 6)
    await refused(operations(retention, caller(await world.user("20-2000000", admin=True)), task))
    with pytest.raises(Forbidden):
        await retention.clear_for_project(caller(member), str(task.project))
    assert await retention.of_project(caller(owner), str(task.project)) == before
    assert len(await audited(world)) == 1


async def test_unknown_ids(world: World, retention: Retention) -> None:
    me = caller(await world.user(admin=True))
    for project in (str(uuid4()), "x", ""):
        with pytest.raises(NotFound):
            await retention.set_for_project(me, project, 1, 1)
    with pytest.raises(NotFound):
        await retention.set_for_workspace(me, "99-9999999", 1, 1)
