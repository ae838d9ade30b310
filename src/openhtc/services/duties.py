"""What must be done from time to time. Each duty is safe to run twice and by two servers at once."""

from openhtc.services.clock import Clock
from openhtc.services.reports import expire_agent
from openhtc.storage import leasing
from openhtc.storage.database import Connection, Database

_AGENTS_AT_ONCE = 20


class LeaseExpiry:
    """Takes back the jobs of agents that were not heard from in time."""

    every_seconds = 1.0
    name = "lease_expiry"

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def run_once(self) -> int:
        """Returns how many times leases were taken back; each agent is a transaction of its own."""

        async def work(connection: Connection) -> int:
            now = self._clock()
            expired = await leasing.expired_agents(connection, now, 1)
            for agent_no in expired:
                await expire_agent(connection, agent_no, now)
            return len(expired)

        ended = 0
        while ended < _AGENTS_AT_ONCE and await self._database.run(work) > 0:
            ended += 1
        return ended
