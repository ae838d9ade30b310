"""Where dimensions let jobs go: the SQL that decides at every lease, against the rule in words."""

import itertools
import random
from collections.abc import Sequence
from uuid import UUID

import pytest

from openhtc.domain.dimensions import Environment, ScalingProfile
from openhtc.domain.enums import Architecture, Priority
from openhtc.domain.regions import Region
from openhtc.domain.work import Capacity
from openhtc.storage import dimensions, leasing
from openhtc.storage.dimensions import Entry, MachineType
from openhtc.storage.leasing import Node

from ..world import REGION, Task, World

OTHER = "GCP_US_EAST_1"
HERE, THERE = Region(REGION), Region(OTHER)
URGENT, ECONOMY = Priority.ON_DEMAND_PRIORITY, Priority.ON_DEMAND_ECONOMY
LARGE = Capacity(1000, 10**6, 10**4)
BOTH = [0, 1]


async def hold_to(world: World, task: Task, project: UUID | None, *entries: Environment) -> None:
    async with world.database.transaction() as connection:
        await dimensions.replace_entries(connection, task.workspace, project, entries)


async def runs_on(
    world: World, machine: str = "small", region: str = REGION, hyperthreading: bool = False
) -> list[int]:
    """The priorities of the batches that a node gets."""
    node = Node(LARGE, [region], machine, "X86", hyperthreading)
    async with world.database.connection() as connection:
        found = await leasing.waiting_batches(connection, node, LARGE, [], strict=False)
    return sorted(item.priority for item in found)


@pytest.fixture
async def task(world: World) -> Task:
    """A batch of each priority in each of two regions."""
    made = await world.task()
    for region, economy in itertools.product((REGION, OTHER), (False, True)):
        await world.batch(made, region=region, economy=economy)
    return made


async def test_without_dimensions_every_node_gets_everything(world: World, task: Task) -> None:
    assert await runs_on(world) == BOTH
    assert await runs_on(world, "large", OTHER, True) == BOTH


async def test_priority_alone(world: World, task: Task) -> None:
    await hold_to(world, task, task.project, Environment(priority=ECONOMY))
    assert await runs_on(world) == await runs_on(world, "large", OTHER, True) == [1]
    await hold_to(world, task, task.project, Environment(priority=URGENT))
    assert await runs_on(world) == [0]
    await hold_to(world, task, task.project, Environment(priority=URGENT), Environment(priority=ECONOMY))
    assert await runs_on(world) == BOTH


async def test_region_alone(world: World, task: Task) -> None:
    await hold_to(world, task, task.project, Environment(region=THERE))
    assert await runs_on(world) == []
    assert await runs_on(world, region=OTHER) == BOTH


async def test_machine_type_alone(world: World, task: Task) -> None:
    await hold_to(world, task, task.project, Environment("large"))
    assert await runs_on(world) == []
    assert await runs_on(world, "large") == BOTH


@pytest.mark.parametrize("wanted", [True, False])
async def test_hyperthreading_alone(world: World, task: Task, wanted: bool) -> None:
    await hold_to(world, task, task.project, Environment(hyperthreading=wanted))
    assert await runs_on(world, hyperthreading=wanted) == BOTH
    assert await runs_on(world, hyperthreading=not wanted) == []


async def test_everything_that_one_entry_names_must_fit(world: World, task: Task) -> None:
    await hold_to(world, task, task.project, Environment("large", ECONOMY, THERE, None, True))
    assert await runs_on(world, "large", OTHER, True) == [1]
    for wrong in (("small", OTHER, True), ("large", REGION, True), ("large", OTHER, False)):
        assert await runs_on(world, *wrong) == []


async def test_entries_are_alternatives(world: World, task: Task) -> None:
    await hold_to(world, task, task.project, Environment("large", ECONOMY), Environment("small", URGENT))
    assert await runs_on(world, "large") == [1]
    assert await runs_on(world, "small") == [0]
    assert await runs_on(world, "medium") == []


async def test_the_scaling_policy_restricts_nothing(world: World, task: Task) -> None:
    await hold_to(world, task, task.project, Environment(scaling_policy=ScalingProfile.BALANCED))
    assert await runs_on(world) == BOTH


async def test_the_list_of_the_workspace_holds_too(world: World, task: Task) -> None:
    await hold_to(world, task, None, Environment("small"), Environment("large", ECONOMY))
    assert await runs_on(world, "large") == [1]
    await hold_to(world, task, task.project, Environment(hyperthreading=True))
    assert await runs_on(world, "large") == []
    assert await runs_on(world, "large", hyperthreading=True) == [1]
    assert await runs_on(world, "small", hyperthreading=True) == BOTH
    await hold_to(world, task, None)
    assert await runs_on(world, "medium", hyperthreading=True) == BOTH


async def test_invariant_8_lists_hold_nobody_else(world: World, task: Task) -> None:
    stranger = await world.task(await world.user("20-2000000"))
    await world.batch(stranger)
    neighbour = await world.task()
    await world.batch(neighbour, economy=True)
    await hold_to(world, task, task.project, Environment("nowhere"))
    assert await runs_on(world) == BOTH
    await hold_to(world, task, None, Environment("nowhere"))
    assert await runs_on(world) == [0], "what is left is the other workspace's"


def allowed(lists: Sequence[Sequence[Environment]], region: str, machine: str, threads: bool) -> list[int]:
    """The rule in words: of every list that is not empty, some entry fits in all that it names."""

    def fits(entry: Environment, priority: Priority) -> bool:
        facts = (entry.priority, priority), (entry.region, region)
        more = (entry.machine_type, machine), (entry.hyperthreading, threads)
        return all(named is None or named == value for named, value in (*facts, *more))

    def open_to(priority: Priority) -> bool:
        return all(not entries or any(fits(entry, priority) for entry in entries) for entries in lists)

    return [number for number, priority in enumerate((URGENT, ECONOMY)) if open_to(priority)]


async def test_random_lists_are_read_as_the_rule_says(world: World, task: Task) -> None:
    chance = random.Random(7)
    choices = [None, "small", "large"], [None, *Priority], [None, HERE, THERE], [None], [None, True, False]
    nodes = list(itertools.product((REGION, OTHER), ("small", "large"), (True, False)))
    statement = "SELECT priority FROM open_priorities($1, $2, $3, $4, $5) ORDER BY priority"
    for _ in range(60):
        mine, ours = (
            [Environment(*map(chance.choice, choices)) for _ in range(chance.randrange(4))] for _ in range(2)
        )
        await hold_to(world, task, task.project, *mine)
        await hold_to(world, task, None, *ours)
        for node in nodes:
            rows = await world.rows(statement, task.workspace, task.project, *node)
            found = [row["priority"] for row in rows]
            assert found == allowed((mine, ours), *node), (mine, ours, node)


async def test_a_list_is_kept_in_its_order_with_what_is_known_of_machine_types(
    world: World, task: Task
) -> None:
    await world.agent(machine_type="small", vcpus=16, architecture="AARCH64")
    full = Environment("small", ECONOMY, THERE, ScalingProfile.OPTIMIZE_UTILIZATION, False)
    entries = [Environment(), full, Environment("never seen"), Environment(hyperthreading=True)]
    await hold_to(world, task, task.project, *entries)
    async with world.database.connection() as connection:
        found = await dimensions.list_entries(connection, task.workspace, task.project)
        assert await dimensions.list_entries(connection, task.workspace, None) == []
    assert [entry.environment for entry in found] == entries
    assert [entry.machine for entry in found] == [
        None,
        MachineType(Architecture.AARCH64, 16, 10**6),
        None,
        None,
    ]
    await hold_to(world, task, task.project, *reversed(entries))
    async with world.database.connection() as connection:
        again = await dimensions.list_entries(connection, task.workspace, task.project)
    assert again == [Entry(entry.environment, entry.machine) for entry in reversed(found)]
