"""Makes room for jobs of ON_DEMAND_PRIORITY where jobs of ON_DEMAND_ECONOMY have taken all of it."""

from collections.abc import Sequence
from datetime import timedelta

import msgspec

from openhtc.domain.preemption import by_agent, recall
from openhtc.domain.work import Capacity
from openhtc.services.clock import Clock
from openhtc.storage import leasing, preemption
from openhtc.storage.database import Connection, Database
from openhtc.storage.leasing import Node
from openhtc.storage.preemption import BusyNode

_NODES = 50
_RECALLS = 200
_BATCHES = 100
Item = tuple[int, int, Capacity]
"""(batch, jobs that wait, what each needs)"""
_GIVEN_BACK_WITHIN = timedelta(seconds=60)
"""An agent hears of it within seconds, and its program has some more to end."""


class Preemption:
    """A duty of the keeper. Jobs that make room go back to the queue, at no cost to their retries."""

    every_seconds = 1.0
    name = "preemption"

    def __init__(
        self, database: Database, clock: Clock, after_seconds: float, *, strict_architecture: bool = False
    ) -> None:
        """``after_seconds``: so long a job waits for room that comes by itself; for ever when that is negative."""
        self._database = database
        self._clock = clock
        self._after = after_seconds
        self._strict = strict_architecture

    async def run_once(self) -> int:
        """Returns how many jobs are to make room."""
        if self._after < 0:
            return 0
        async with self._database.connection() as connection:
            if not await preemption.may_press(connection):
                return 0
        return await self._database.run(self._recall)

    async def _recall(self, connection: Connection) -> int:
        now = self._clock()
        recalled_after = now - _GIVEN_BACK_WITHIN
        nodes = await preemption.nodes_with_room_to_make(connection, now, recalled_after, _NODES)
        found = await self._pressing(connection, nodes)
        if not found:
            return 0
        loads = await preemption.loads(connection, nodes, recalled_after)
        leases = recall(by_agent(found), loads, now, _RECALLS)
        if not leases:
            return 0
        return await preemption.recall_jobs(connection, [node.agent for node in nodes], leases, now)

    async def _pressing(self, connection: Connection, nodes: Sequence[BusyNode]) -> dict[int, list[Item]]:
        """What each node could run of the first class, had it room, of the oldest batches that have waited enough."""
        now = self._clock()
        native = await leasing.native_architectures(connection, now)
        kinds: dict[bytes, list[Item]] = {}
        found: dict[int, list[Item]] = {}
        for busy in nodes:
            kind = msgspec.json.encode(busy.node)  # most nodes are alike
            if kind not in kinds:
                kinds[kind] = await self._waiting(connection, busy.node, native)
            found[busy.agent] = kinds[kind]
        batches = sorted({batch for items in kinds.values() for batch, _, _ in items})[:_BATCHES]
        since = now - timedelta(seconds=self._after)
        long_enough = await preemption.waited_since(connection, batches, since)
        kept = {agent: [item for item in items if item[0] in long_enough] for agent, items in found.items()}
        return {agent: items for agent, items in kept.items() if items}

    async def _waiting(self, connection: Connection, node: Node, native: Sequence[str]) -> list[Item]:
        waiting = await leasing.waiting_batches(connection, node, node.capacity, native, strict=self._strict)
        return [(item.batch, item.jobs, item.needs) for item in waiting if item.priority == 0]
