"""A database that was set back gives no number again that programs outside may know."""

from openhtc.services.restoring import make_usable

from ..world import World


async def test_numbers_of_the_time_that_is_gone_are_not_given_again(world: World) -> None:
    task = await world.task()
    (batch,) = await world.batches(task, [3])
    agent = await world.agent()
    (grant,) = await world.grant(agent, (batch, 1))
    await make_usable(world.database, world.clock)
    (next_batch,) = await world.batches(task, [3])
    next_agent = await world.agent()
    (next_grant,) = await world.grant(next_agent, (next_batch, 1))
    assert next_batch.no > batch.no + 10**8
    assert next_agent > agent + 10**5
    assert next_grant.lease > grant.lease + 10**11


async def test_agents_of_that_time_lose_their_jobs(world: World) -> None:
    task = await world.task()
    (batch,) = await world.batches(task, [1])
    agent = await world.agent()
    await world.grant(agent, (batch, 1))
    await make_usable(world.database, world.clock)
    rows = await world.rows("SELECT expires_at FROM agents WHERE agent_no = $1", agent)
    assert rows[0]["expires_at"] == world.clock.now
