"""One server leads and does what is due; some duties are everybody's."""

import asyncio
from dataclasses import dataclass

from openhtc.server.keeper import Keeper


@dataclass
class Counted:
    """A duty that counts its turns."""

    name: str
    every_seconds: float = 0.02
    turns: int = 0
    fails: bool = False

    async def run_once(self) -> int:
        self.turns += 1
        if self.fails:
            raise RuntimeError("this duty fails each time")
        return 1


async def until(duty: Counted, turns: int) -> None:
    async with asyncio.timeout(20):
        while duty.turns < turns:
            await asyncio.sleep(0.01)


async def test_only_the_leader_does_what_is_the_leaders(database_url: str) -> None:
    led, waiting = Counted("led"), Counted("waiting")
    first, second = Counted("first"), Counted("second")
    leader = Keeper(database_url, [led], everywhere=[first])
    leader.start()
    await until(led, 1)
    follower = Keeper(database_url, [waiting], everywhere=[second])
    follower.start()
    await until(second, 5)
    assert waiting.turns == 0 < first.turns
    await leader.stop()
    turns = led.turns, first.turns
    await until(waiting, 1)
    await follower.stop()
    assert (led.turns, first.turns) == turns, "what was stopped has another turn"


async def test_a_duty_that_fails_has_its_next_turn_and_stops_no_other(database_url: str) -> None:
    duties = Counted("fails", fails=True), Counted("works")
    everywhere = Counted("fails here too", fails=True)
    keeper = Keeper(database_url, duties, everywhere=[everywhere])
    keeper.start()
    for duty in (*duties, everywhere):
        await until(duty, 3)
    await keeper.stop()


async def test_a_duty_waits_until_the_keeper_has_led_for_a_while(database_url: str) -> None:
    soon, later = Counted("soon"), Counted("later")
    keeper = Keeper(database_url, [soon, later], first_after={"later": 0.3})
    keeper.start()
    await until(soon, 3)
    assert later.turns == 0
    await until(later, 1)
    await keeper.stop()
