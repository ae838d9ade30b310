"""What must be done from time to time. Each duty is safe to run twice and by two servers at once."""

from datetime import timedelta

from openhtc.domain.attempts import LONGEST_REST_SECONDS
from openhtc.services.clock import Clock
from openhtc.services.reports import expire_agent
from openhtc.storage import leasing
from openhtc.storage.clock import LOOK_SECONDS
from openhtc.storage.database import Connection, Database
from openhtc.storage.transitions import end_rests

_AGENTS_AT_ONCE = 20
_JOBS_AT_ONCE = 1000
_NO_REST = timedelta(seconds=2 * LONGEST_REST_SECONDS)
"""What is to last so long was begun before the database's clock went back, of which servers learn one by one."""


class LeaseExpiry:
    """Takes back the jobs of agents that were not heard from in time.

    Nothing for a while after the database's own clock was moved: every lease would seem over at once, while its agent
    rightly works on. All servers have to learn of it first, and then hear from all agents.
    """

    every_seconds = 1.0
    name = "lease_expiry"

    def __init__(
        self, database: Database, clock: Clock, lease_seconds: float, learn_seconds: float = LOOK_SECONDS
    ) -> None:
        self._database = database
        self._clock = clock
        self._patience = lease_seconds + learn_seconds

    async def run_once(self) -> int:
        """Returns how many times leases were taken back; each agent is a transaction of its own."""

        async def work(connection: Connection) -> int:
            if self._database.now.stepped_within(self._patience):
                return 0
            now = self._clock()
            expired = await leasing.expired_agents(connection, now, 1)
            for agent_no in expired:
                await expire_agent(connection, agent_no, now)
            return len(expired)

        # Another server may know of a step already, and have moved the ends of leases accordingly.
        await self._database.look_at_clock()
        ended = 0
        while ended < _AGENTS_AT_ONCE and await self._database.run(work) > 0:
            ended += 1
        return ended


class RestEnd:
    """Lets nodes have jobs again that rested after a failed attempt.

    A duty of every server for agents: one of the release before, which knows no rests, may be the keeper.
    """

    every_seconds = 0.5
    name = "rest_end"

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def run_once(self) -> int:
        """Returns how many jobs there were."""

        async def work(connection: Connection) -> int:
            return await end_rests(connection, self._clock(), _NO_REST, _JOBS_AT_ONCE)

        total = 0
        while (ended := await self._database.run(work)) > 0:
            total += ended
            if ended < _JOBS_AT_ONCE:
                break
        return total
