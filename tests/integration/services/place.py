"""A task and a node that write logs, for tests of what goes when it is old."""

from dataclasses import dataclass

from openhtc.domain.enums import SortOrder
from openhtc.domain.identity import User
from openhtc.domain.logs import Stretch, pack_lines
from openhtc.domain.work import LogChunk
from openhtc.objects import ObjectStore
from openhtc.services.cleaning import AgentRemoval, JobRemoval, LogRemoval
from openhtc.services.logs import Logs
from openhtc.storage.leasing import Granted

from ..world import Batch, Task, World, caller
from .conftest import Far


@dataclass
class Place:
    """A world with its cleaning duties, a task and a node."""

    world: World
    objects: ObjectStore
    user: User
    task: Task
    agent: int

    def __post_init__(self) -> None:
        database, clock = self.world.database, self.world.clock
        self.jobs, self.logs = JobRemoval(database, clock), LogRemoval(database, self.objects)
        self.agents = AgentRemoval(database, self.objects, clock)
        self._numbers = iter(range(1000))

    async def write(self, *grants: Granted, told: bool = True) -> tuple[str, list[LogChunk]]:
        """One object with a line of each job; its key and the chunks, which are reported when ``told``."""
        key = f"logs/{self.agent}/{next(self._numbers):06d}"
        data, chunks = b"", []
        for grant in grants:
            text = f"line of {grant.batch_no}:{grant.idx}\n"
            line = pack_lines([Stretch(1000, 1, text.encode())])
            place = (grant.lease, grant.batch_no, grant.idx, key, len(data), len(line), 1, 1000, 1000)
            chunks.append(LogChunk(*place))
            data += line
        await self.objects.put(key, data)
        if told:
            await self.world.report(self.agent, *chunks)
        return key, chunks

    async def end(self, *grants: Granted) -> None:
        await self.world.report(self.agent, *(self.world.end(grant) for grant in grants))

    async def run(self, batch: Batch, n: int = 1) -> str:
        """The next jobs of a batch run, print a line into one object, and end; the object's key."""
        grants = await self.world.grant(self.agent, (batch, n))
        key, _ = await self.write(*grants)
        await self.end(*grants)
        return key

    async def lines(self, batch: Batch, index: int = 0) -> list[str]:
        place = (str(self.task.project), str(self.task.id), f"{batch.id}:{index}")
        logs = Logs(self.world.database, self.objects)
        page = await logs.page(caller(self.user), *place, SortOrder.ASC, None, 100)
        return [text for _, text in page.items]

    async def stored(self) -> set[str]:
        """The log objects of this node in the store."""
        return {found.key async for page in self.objects.list(f"logs/{self.agent}/") for found in page}

    async def count(self, table: str) -> int:
        (row,) = await self.world.rows(f"SELECT count(*) AS n FROM {table}")
        return int(row["n"])

    async def alive(self) -> None:
        await self.world.report(self.agent)


async def new_place(world: World, far: Far) -> Place:
    user = await world.user()
    made = Place(world, far.objects, user, await world.task(user), await world.agent())
    # Every test's database counts agents from 1, and all of them share one store.
    while await far.objects.removal.remove_below(f"logs/{made.agent}/"):
        pass
    return made
