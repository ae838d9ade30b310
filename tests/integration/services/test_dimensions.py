"""Dimensions: who sets them, from when they decide, and what a job that waits says."""

import asyncio
from typing import Any

import pytest

from openhtc.domain.dimensions import Environment, ScalingProfile
from openhtc.domain.enums import JobStatus, Priority
from openhtc.domain.errors import Forbidden, InvalidRequest, NotFound
from openhtc.domain.identity import Caller, JobScope
from openhtc.domain.regions import Region
from openhtc.domain.work import AgentHello, Capacity, LeaseRequest
from openhtc.services import leasing
from openhtc.services.jobs import Jobs, Wanted

from ..world import LEASE_SECONDS, REGION, Batch, Task, caller
from .conftest import Core
from .test_leasing import agent_key, lease, numbers, until_heard, until_listening

SMALL, LARGE = Environment("small"), Environment("large")
ECONOMY = Environment(priority=Priority.ON_DEMAND_ECONOMY)


@pytest.fixture
async def admin(core: Core) -> Caller:
    return caller(await core.world.user(admin=True))


@pytest.fixture
async def task(core: Core, admin: Caller) -> Task:
    return await core.world.task(admin.user)


async def entries(core: Core, who: Caller, task: Task) -> list[Environment]:
    return [entry.environment for entry in await core.dimensions.of_project(who, str(task.project))]


async def set_project(core: Core, who: Caller, task: Task, *wanted: Environment) -> None:
    await core.dimensions.set_project(who, str(task.project), wanted)


async def audited(core: Core) -> list[dict[str, Any]]:
    return await core.world.rows("SELECT actor, action, subject, details FROM audit ORDER BY id")


async def test_admins_replace_the_list_and_members_read_it(core: Core, admin: Caller, task: Task) -> None:
    member = caller(await core.world.user())
    full = Environment("large", Priority.ON_DEMAND_ECONOMY, Region(REGION), ScalingProfile.BALANCED, True)
    assert await entries(core, member, task) == []
    await set_project(core, admin, task, full, SMALL, Environment())
    assert await entries(core, member, task) == [full, SMALL, Environment()]
    with pytest.raises(Forbidden, match="may not set dimensions"):
        await set_project(core, member, task)
    assert await entries(core, member, task) == [full, SMALL, Environment()]
    await set_project(core, admin, task)
    assert await entries(core, member, task) == []
    subject = f"project:{task.project}"
    named = {"machine_type": "large", "priority": "ON_DEMAND_ECONOMY", "region": REGION}
    more = {"scaling_policy": "BALANCED", "hyperthreading": True}
    listed = [{**named, **more}, {"machine_type": "small"}, {}]
    assert await audited(core) == [
        {
            "actor": admin.user.id,
            "action": "dimensions.set",
            "subject": subject,
            "details": {"entries": listed},
        },
        {"actor": admin.user.id, "action": "dimensions.set", "subject": subject, "details": {"entries": []}},
    ]


async def test_invariant_8_others_neither_read_nor_set(core: Core, admin: Caller, task: Task) -> None:
    batch = await core.world.batch(task)
    stranger = caller(await core.world.user("20-2000000", admin=True))
    job = Caller(admin.user, JobScope(task.project, task.id, batch.id, 0))
    for other in (stranger, job):
        with pytest.raises(Forbidden):
            await entries(core, other, task)
        with pytest.raises(Forbidden):
            await set_project(core, other, task, SMALL)
        with pytest.raises(Forbidden):
            await core.dimensions.of_workspace(other, task.workspace)
        with pytest.raises(Forbidden):
            await core.clusters.of_workspace(other, task.workspace)
    with pytest.raises(NotFound):
        await core.dimensions.of_workspace(admin, "99-0000000")
    assert await audited(core) == []


async def test_projects_stay_within_the_list_of_the_workspace(core: Core, admin: Caller, task: Task) -> None:
    await core.dimensions.set_workspace("operator:me", task.workspace, [SMALL, ECONOMY])
    found = await core.dimensions.of_workspace(admin, task.workspace)
    assert [entry.environment for entry in found] == [SMALL, ECONOMY]
    await set_project(core, admin, task, LARGE, Environment("small", Priority.ON_DEMAND_PRIORITY))
    narrow = Environment("large", Priority.ON_DEMAND_PRIORITY)
    with pytest.raises(InvalidRequest, match=r"^\[1\]: no single entry of the workspace's dimensions allows"):
        await set_project(core, admin, task, SMALL, narrow)
    await core.dimensions.set_workspace("operator:me", task.workspace, [SMALL])
    with pytest.raises(InvalidRequest, match=r"^\[0\].machineType: large is in no entry"):
        await set_project(core, admin, task, LARGE)
    assert (await entries(core, admin, task))[0] == LARGE, (
        "nothing changes on refusal, or by the workspace's list"
    )
    with pytest.raises(NotFound):
        await core.dimensions.set_workspace("operator:me", "99-0000000", [])
    changes = [(row["actor"], row["subject"]) for row in await audited(core)]
    workspace = ("operator:me", f"workspace:{task.workspace}")
    assert changes == [workspace, (admin.user.id, f"project:{task.project}"), workspace]


async def test_of_two_changes_at_once_one_wins_whole(core: Core, admin: Caller, task: Task) -> None:
    lists = [[Environment(f"{n}-{m}") for m in range(20)] for n in range(8)]
    await asyncio.gather(*(set_project(core, admin, task, *wanted) for wanted in lists))
    assert await entries(core, admin, task) in lists


async def test_a_change_decides_from_the_next_lease_on(core: Core, admin: Caller, task: Task) -> None:
    batch = await core.world.batch(task, 6)
    agent = await core.world.agent(machine_type="small")
    two = Capacity(2, 10**5, 0)
    await set_project(core, admin, task, LARGE)
    assert numbers(await lease(core, agent, two)) == {}
    await set_project(core, admin, task, LARGE, SMALL)
    assert numbers(await lease(core, agent, two)) == {batch.no: 2}
    await core.dimensions.set_workspace("operator:me", task.workspace, [ECONOMY])
    assert numbers(await lease(core, agent, two)) == {}
    await core.dimensions.set_workspace("operator:me", task.workspace, [])
    assert numbers(await lease(core, agent, two)) == {batch.no: 2}
    assert await core.world.statuses(batch) == [3, 3, 3, 3, 2, 2], "what was placed stays where it is"


@pytest.mark.parametrize("whose", ["project", "workspace"])
async def test_a_change_wakes_agents_that_wait(
    core: Core, admin: Caller, task: Task, whose: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leasing, "_LOOK_AGAIN_SECONDS", 600.0)
    monkeypatch.setattr(leasing, "MAX_WAIT_SECONDS", 600.0)

    async def change(*wanted: Environment) -> None:
        if whose == "project":
            await set_project(core, admin, task, *wanted)
        else:
            await core.dimensions.set_workspace("operator:me", task.workspace, wanted)

    batch = await core.world.batch(task, 2)
    agent = await core.world.agent(machine_type="small")
    await change(LARGE)
    core.signal.start()
    await until_listening(core.world)
    core.world.clock.step(1)
    waiting = asyncio.create_task(core.leasing.lease(agent, LeaseRequest(Capacity(9, 9999, 9), 9, 500)))
    await until_heard(core.world, agent)
    await change()
    assert numbers(await asyncio.wait_for(waiting, 20)) == {batch.no: 2}


async def test_another_architecture_takes_over_when_the_last_node_is_gone(core: Core, task: Task) -> None:
    batch = await core.world.batch(task, 2, architecture="AARCH64")
    intel, arm = await core.world.agent(), await core.world.agent(architecture="AARCH64")
    assert numbers(await lease(core, intel)) == {}
    assert numbers(await lease(core, arm, jobs=1)) == {batch.no: 1}
    core.world.clock.step(LEASE_SECONDS - 1)
    assert numbers(await lease(core, intel)) == {}, "it lives until its lease ends"
    core.world.clock.step(4)
    assert numbers(await lease(core, intel)) == {batch.no: 1}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"architecture": "SPARC"}, "architecture: 'SPARC' is none of AARCH64, X86, A100"),
        ({"machine_type": ""}, "machine_type: '': expected 1 to 128"),
        ({"machine_type": "x" * 129}, "machine_type: "),
        ({"name": "a\0b"}, "name: contains NUL"),
        ({"regions": []}, "regions: expected at least one"),
    ],
)
async def test_agents_that_describe_themselves_badly_are_refused(
    core: Core, change: dict[str, Any], words: str
) -> None:
    facts = {"name": "n", "regions": [REGION], "capacity": Capacity(1, 100, 1), "architecture": "X86"}
    hello = AgentHello(**{**facts, "runtime": "bubblewrap", "version": "0", **change})
    with pytest.raises(InvalidRequest) as refused:
        await core.leasing.open_session(hello, await agent_key(core))
    assert refused.value.message.startswith(words)
    assert await core.world.rows("SELECT 1 FROM machine_types") == []


async def reason(core: Core, who: Caller, batch: Batch, service: Jobs | None = None) -> str | None:
    """As GET of the job and every item of the listing say it."""
    service = service or core.jobs
    project, task = str(batch.task.project), str(batch.task.id)
    one = await service.get(who, project, task, f"{batch.id}:0")
    page = await service.page(who, project, task, Wanted(job_ids=[f"{batch.id}:0"]), None, 10)
    assert [job.reason for job in page.items] == [one.reason]
    return one.reason


async def test_a_job_says_why_no_live_node_can_take_it(core: Core, admin: Caller, task: Task) -> None:
    large, small = await core.world.batch(task, vcpus=64), await core.world.batch(task)
    assert await reason(core, admin, small) == f"waiting: {REGION} has no live node"
    core.world.clock.step(3)
    agent = await core.world.agent(vcpus=8, machine_type="small")
    assert await reason(core, admin, small) is None
    assert await reason(core, admin, large) == (
        f"waiting: no live node of {REGION} has 64 vCPUs, the largest has 8"
    )
    await core.world.agent(vcpus=64, machine_type="large")
    core.world.clock.step(3)
    assert await reason(core, admin, large) is None
    await set_project(core, admin, task, SMALL)
    core.world.clock.step(3)
    assert "that this job may use has 64 vCPUs, the largest has 8" in str(await reason(core, admin, large))
    await set_project(core, admin, task, ECONOMY)
    core.world.clock.step(3)
    assert "the dimensions allow no live node" in str(await reason(core, admin, small))
    await core.world.grant(agent, (small, 1))
    assert await reason(core, admin, small) is None, "it has a node now"


async def test_what_waits_for_an_architecture_says_so_on_a_strict_server(
    core: Core, admin: Caller, task: Task
) -> None:
    batch = await core.world.batch(task, architecture="A100")
    await core.world.agent()
    strict = Jobs(core.world.database, core.world.cancelling, core.world.clock, strict_architecture=True)
    assert await reason(core, admin, batch) is None
    assert await reason(core, admin, batch, strict) == (
        f"waiting: no live node of {REGION} has the architecture A100"
    )


async def test_a_listing_explains_every_batch(core: Core, admin: Caller, task: Task) -> None:
    await core.world.agent(vcpus=8)
    for vcpus in (1, 16, 2, 32):
        await core.world.batch(task, 3, vcpus=vcpus)
    page = await core.jobs.page(admin, str(task.project), str(task.id), Wanted(), None, 100)
    assert {job.job_status for job in page.items} == {JobStatus.RUNNABLE}
    said = [None if job.reason is None else job.batch.vcpus for job in page.items]
    assert said == [None] * 3 + [16] * 3 + [None] * 3 + [32] * 3
