"""Which waiting batches a node is offered: architectures, sizes, many projects."""

import pytest

from openhtc.domain.dimensions import Environment
from openhtc.domain.enums import Priority
from openhtc.domain.placement import NodeKind
from openhtc.domain.work import Capacity
from openhtc.storage import clusters, dimensions, leasing
from openhtc.storage.leasing import Node

from ..world import LEASE_SECONDS, REGION, Batch, World
from .test_query_plans import read

OTHER = "GCP_US_EAST_1"
LARGE = Capacity(1000, 10**6, 10**4)


def node(architecture: str, *regions: str) -> Node:
    return Node(LARGE, list(regions or (REGION,)), "local", architecture, False)


async def offered(world: World, to: Node, *, strict: bool = False) -> set[int]:
    async with world.database.connection() as connection:
        native = await leasing.native_architectures(connection, world.clock())
        found = await leasing.waiting_batches(connection, to, LARGE, native, strict=strict)
    assert len(found) == len({item.batch for item in found})
    return {item.batch for item in found}


@pytest.fixture
async def batches(world: World) -> dict[str, Batch]:
    """One batch for each architecture and one that names none."""
    task = await world.task()
    names = ("X86", "AARCH64", "A100")
    made = {name: await world.batch(task, architecture=name) for name in names}
    return {**made, "any": await world.batch(task)}


async def test_an_architecture_without_nodes_runs_on_others(world: World, batches: dict[str, Batch]) -> None:
    await world.agent()
    every = {batch.no for batch in batches.values()}
    assert await offered(world, node("X86")) == every


@pytest.mark.parametrize("architecture", ["AARCH64", "A100"])
async def test_an_architecture_with_nodes_waits_for_them_while_they_live(
    world: World, batches: dict[str, Batch], architecture: str
) -> None:
    await world.agent()
    every = {batch.no for batch in batches.values()}
    own = batches[architecture].no
    await world.agent(architecture=architecture)
    assert await offered(world, node("X86")) == every - {own}
    assert await offered(world, node(architecture)) == every - {batches["X86"].no}
    world.clock.step(LEASE_SECONDS + 1)
    await world.agent()
    assert await offered(world, node("X86")) == every, "its last node was not heard from any more"
    await world.agent(architecture=architecture)
    assert await offered(world, node("X86")) == every - {own}, "a node came back"


async def test_nodes_of_another_region_do_not_count(world: World) -> None:
    task = await world.task()
    here = await world.batch(task, architecture="AARCH64")
    there = await world.batch(task, architecture="AARCH64", region=OTHER)
    await world.agent(regions=[REGION, OTHER])
    await world.agent(architecture="AARCH64", region=OTHER)
    assert await offered(world, node("X86", REGION, OTHER)) == {here.no}
    assert await offered(world, node("AARCH64", OTHER)) == {there.no}
    await world.agent(architecture="AARCH64", regions=[OTHER, REGION])
    assert await offered(world, node("X86", REGION, OTHER)) == set()
    assert await offered(world, node("AARCH64", REGION, OTHER)) == {here.no, there.no}


async def test_strict_servers_never_mix_architectures(world: World, batches: dict[str, Batch]) -> None:
    await world.agent()
    anything = batches["any"].no
    for architecture in ("X86", "AARCH64", "A100"):
        expected = {batches[architecture].no, anything}
        assert await offered(world, node(architecture), strict=True) == expected


async def test_dimensions_and_architecture_must_both_allow(world: World) -> None:
    task = await world.task()
    batch = await world.batch(task, architecture="AARCH64", economy=True)
    await world.agent()
    entries = [Environment("local", Priority.ON_DEMAND_ECONOMY)]
    async with world.database.transaction() as connection:
        await dimensions.replace_entries(connection, task.workspace, task.project, entries)
    assert await offered(world, node("X86")) == {batch.no}
    assert await offered(world, node("X86"), strict=True) == set()
    async with world.database.transaction() as connection:
        await dimensions.replace_entries(
            connection, task.workspace, task.project, [Environment("local", Priority.ON_DEMAND_PRIORITY)]
        )
    assert await offered(world, node("X86")) == set()


async def test_an_agent_that_names_a_region_twice_serves_it_once(world: World) -> None:
    batch = await world.batch(await world.task())
    number = await world.agent(regions=[REGION, OTHER, REGION])
    async with world.database.connection() as connection:
        found = await leasing.hold_agent(connection, number, world.clock())
    assert found is not None
    assert found.regions == [REGION, OTHER]
    assert await offered(world, found) == {batch.no}


async def test_invariant_7_of_very_many_projects_each_is_offered(world: World) -> None:
    tasks = [await world.task() for _ in range(120)]
    for task in tasks:
        await world.batches(task, [1] * 9)
    async with world.database.connection() as connection:
        found = await leasing.waiting_batches(connection, node("X86"), LARGE, [], strict=False)
    offers = [sum(item.project == str(task.project) for item in found) for task in tasks]
    assert min(offers) == max(offers) == 8, "the list stays about as long as the largest bundle"


async def test_invariant_7_batches_that_dimensions_hold_back_are_not_even_read(world: World) -> None:
    task = await world.task()
    for _ in range(5):
        await world.batches(task, [1] * 100)
    economy = await world.batch(task, economy=True)
    async with world.database.transaction() as connection:
        await dimensions.replace_entries(
            connection, task.workspace, task.project, [Environment(priority=Priority.ON_DEMAND_ECONOMY)]
        )
    await world.rows("VACUUM ANALYZE")
    assert await offered(world, node("X86")) == {economy.no}
    wanted = ([REGION], 1000, 10**6, 10**4, "local", "X86", [], False, False)
    seen = await read(world, "force_generic_plan", leasing._SQL["waiting_batches"], *wanted)
    assert seen["batches"] <= 10


async def test_the_kinds_of_live_nodes_that_a_project_may_use(world: World) -> None:
    task = await world.task()
    for _ in range(3):
        await world.agent(machine_type="small", capacity=Capacity(4, 8000, 100))
    await world.agent(machine_type="large", capacity=Capacity(64, 8000, 100), architecture="AARCH64")
    await world.agent(region=OTHER)
    world.clock.step(LEASE_SECONDS / 2)
    await world.agent(machine_type="new", capacity=Capacity(1, 1, 1))
    entries = [Environment("small", Priority.ON_DEMAND_ECONOMY), Environment("new")]
    async with world.database.transaction() as connection:
        await dimensions.replace_entries(connection, task.workspace, task.project, entries)
        found = await clusters.node_kinds(connection, task.project, world.clock())
    new = NodeKind(REGION, "X86", Capacity(1, 1, 1), frozenset({0, 1}))
    assert sorted(found, key=lambda kind: kind.capacity.vcpus) == [
        new,
        NodeKind(REGION, "X86", Capacity(4, 8000, 100), frozenset({1})),
        NodeKind(REGION, "AARCH64", Capacity(64, 8000, 100), frozenset()),
    ]
    world.clock.step(LEASE_SECONDS / 2 + 1)
    async with world.database.connection() as connection:
        assert await clusters.node_kinds(connection, task.project, world.clock()) == [new]
