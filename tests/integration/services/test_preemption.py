"""Jobs of ON_DEMAND_ECONOMY make room for those of ON_DEMAND_PRIORITY, at no cost, and still end."""

from collections.abc import Sequence

import pytest

from openhtc.domain.enums import Outcome
from openhtc.domain.preemption import MAX_PREEMPTIONS
from openhtc.services.preemption import Preemption
from openhtc.services.verification import Verification
from openhtc.storage.leasing import Granted

from ..world import Batch, World

RUNNABLE, STARTING, RUNNING, SUCCEEDED = 2, 3, 4, 5
AFTER = 5.0


class Farm:
    """One node of four vCPUs, full of economy jobs."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.duty = Preemption(world.database, world.clock, AFTER)

    async def fill(self, *, jobs: int = 4, vcpus: int = 1) -> None:
        world = self.world
        self.agent = await world.agent(vcpus=4)
        self.task = await world.task()
        self.economy = await world.batch(self.task, jobs, economy=True, vcpus=vcpus)
        self.grants = await world.grant(self.agent, (self.economy, jobs))
        for grant in self.grants:
            await world.report(self.agent, world.start(grant))
            world.clock.step(1)

    async def asked(self) -> list[int]:
        return (await self.world.report(self.agent)).preempt

    async def give_back(self, grants: Sequence[Granted]) -> None:
        await self.world.report(self.agent, *(self.world.end(g, Outcome.PREEMPTED) for g in grants))


@pytest.fixture
async def farm(world: World) -> Farm:
    made = Farm(world)
    await made.fill()
    return made


async def urgent(farm: Farm, size: int = 1, *, waited: float = AFTER, **facts: int) -> Batch:
    batch = await farm.world.batch(farm.task, size, **facts)
    farm.world.clock.step(waited)
    return batch


async def test_the_youngest_makes_room_once_the_other_has_waited(world: World, farm: Farm) -> None:
    await urgent(farm, waited=AFTER - 0.1)
    assert await farm.duty.run_once() == 0
    world.clock.step(0.1)
    assert await farm.duty.run_once() == 1
    assert await farm.duty.run_once() == 0, "the room is coming"
    assert await farm.asked() == [farm.grants[-1].lease]


async def test_making_room_costs_nothing_and_the_job_still_ends(world: World, farm: Farm) -> None:
    batch = await urgent(farm)
    await farm.duty.run_once()
    last = farm.grants[-1]
    await farm.give_back([last])
    job = await world.job(farm.economy, last.idx)
    assert (job["status"], job["failures"], job["losses"], job["recalled_at"]) == (RUNNABLE, 0, 0, None)

    (grant,) = await world.grant(farm.agent, (batch, 1))
    assert await farm.duty.run_once() == 0
    await world.report(farm.agent, world.end(grant))
    (again,) = await world.grant(farm.agent, (farm.economy, 4))
    await world.report(farm.agent, world.end(again))
    assert await world.statuses(farm.economy) == [RUNNING] * 3 + [SUCCEEDED]
    attempts = await world.rows("SELECT outcome FROM attempts")
    assert [row["outcome"] for row in attempts] == ["PREEMPTED"]
    found = await Verification(world.database, world.clock).run(None, 5)
    assert [each for each in found if each.broken] == []


async def test_an_end_that_comes_before_the_recall_is_heard_counts(world: World, farm: Farm) -> None:
    await urgent(farm)
    await farm.duty.run_once()
    await world.report(farm.agent, world.end(farm.grants[-1]))
    assert await world.statuses(farm.economy) == [RUNNING] * 3 + [SUCCEEDED]
    assert await farm.asked() == []


async def test_a_cancellation_wins_over_a_recall(world: World, farm: Farm) -> None:
    await urgent(farm)
    await farm.duty.run_once()
    await world.cancel(farm.task)
    answer = await world.report(farm.agent)
    assert answer.preempt == [] and len(answer.stop) == 4


async def test_no_economy_job_makes_room_for_another_or_for_what_cannot_run(world: World, farm: Farm) -> None:
    await world.batch(farm.task, 3, economy=True)
    await urgent(farm, vcpus=5)
    world.clock.step(100)
    await farm.asked()
    assert await farm.duty.run_once() == 0


async def test_a_large_job_gets_as_much_room_as_it_needs(world: World, farm: Farm) -> None:
    await urgent(farm, vcpus=3)
    assert await farm.duty.run_once() == 3
    assert await farm.asked() == sorted(grant.lease for grant in farm.grants[1:])


async def test_a_job_that_made_room_often_keeps_its_place(world: World, farm: Farm) -> None:
    last = farm.grants[-1]
    for _ in range(MAX_PREEMPTIONS):
        await farm.give_back([last])
        (last,) = await world.grant(farm.agent, (farm.economy, 1))
    await urgent(farm, 4)
    await farm.asked()
    assert await farm.duty.run_once() == 3
    assert last.lease not in await farm.asked()


async def test_a_node_that_does_not_give_back_is_not_waited_for_forever(world: World, farm: Farm) -> None:
    await urgent(farm)
    assert await farm.duty.run_once() == 1
    for _ in range(4):
        world.clock.step(16)
        await farm.asked()
    assert await farm.duty.run_once() == 1
    assert len(await farm.asked()) == 2


async def test_a_node_that_drains_is_left_alone(world: World, farm: Farm) -> None:
    await urgent(farm)
    held = [grant.lease for grant in farm.grants]
    await world.report(farm.agent, held=held, stopping=True)
    assert await farm.duty.run_once() == 0
    await world.report(farm.agent, held=held)
    assert await farm.duty.run_once() == 1


async def test_dead_nodes_and_switched_off(world: World, farm: Farm) -> None:
    await urgent(farm)
    never = Preemption(world.database, world.clock, -1)
    assert await never.run_once() == 0
    world.clock.step(1000)
    assert await farm.duty.run_once() == 0
