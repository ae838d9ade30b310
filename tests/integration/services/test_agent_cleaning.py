"""Agents of long ago are forgotten, with what they wrote and told nobody of."""

import pytest

from openhtc.domain.enums import Outcome
from openhtc.domain.retention import JOBS_KEPT
from openhtc.services.cleaning import AGENTS_KEPT

from ..world import LEASE_SECONDS, World
from .conftest import Far
from .place import Place, new_place

KEPT = JOBS_KEPT.total_seconds()


@pytest.fixture
async def place(world: World, far: Far) -> Place:
    return await new_place(world, far)


async def ended(place: Place) -> None:
    """The node falls silent and is given up."""
    place.world.clock.step(LEASE_SECONDS + 1)
    while await place.world.expiry.run_once():
        pass


async def test_agents_go_when_nothing_remembers_them(place: Place) -> None:
    world = place.world
    batch = await world.batch(place.task, 2)
    (first,) = await world.grant(place.agent, (batch, 1))
    await world.report(place.agent, world.end(first, Outcome.HANDED_BACK))
    await place.run(batch, 2)
    untold, _ = await place.write(first, told=False)
    await ended(place)
    world.clock.step(KEPT - LEASE_SECONDS - 1)
    assert await place.agents.run_once() == 0
    world.clock.step((AGENTS_KEPT - JOBS_KEPT).total_seconds() + LEASE_SECONDS + 1)
    living = await world.agent()
    assert await place.agents.run_once() == 0, "its jobs are still there"
    assert await place.jobs.run_once() == 2
    assert await place.agents.run_once() == 0, "its log object is still there"
    assert await place.logs.run_once() == 1
    assert await place.stored() == {untold}
    assert await place.agents.run_once() == 1
    assert await place.stored() == set()
    assert await world.rows("SELECT agent_no FROM agents") == [{"agent_no": living}]


async def test_an_agent_stays_while_one_of_its_jobs_does(place: Place) -> None:
    batch = await place.world.batch(place.task)
    await place.end(*await place.world.grant(place.agent, (batch, 1)))
    await ended(place)
    place.world.clock.step(AGENTS_KEPT.total_seconds())
    assert await place.agents.run_once() == 0
    assert await place.jobs.run_once() == 1
    assert await place.agents.run_once() == 1


async def test_an_agent_stays_while_a_former_attempt_names_it(place: Place) -> None:
    world = place.world
    batch = await world.batch(place.task)
    (first,) = await world.grant(place.agent, (batch, 1))
    await world.report(place.agent, world.end(first, Outcome.HANDED_BACK))
    await ended(place)
    world.clock.step(AGENTS_KEPT.total_seconds())
    await place.jobs.run_once()
    assert await place.agents.run_once() == 0
    await world.cancel(place.task)
    world.clock.step(AGENTS_KEPT.total_seconds())
    assert await place.jobs.run_once() == 1
    assert await place.agents.run_once() == 1
