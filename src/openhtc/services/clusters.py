"""The node pools that a workspace's jobs can run on."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from openhtc.domain.identity import Caller
from openhtc.domain.permissions import Operation, permit
from openhtc.services.access import workspace_for
from openhtc.services.clock import Clock
from openhtc.storage import clusters
from openhtc.storage.clusters import Pool
from openhtc.storage.database import Database


@dataclass(frozen=True, slots=True)
class Cluster:
    """The live nodes of one provider in one region; never without a pool."""

    provider: str
    region: str
    pools: Sequence[Pool]


class Clusters:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def of_workspace(self, caller: Caller, workspace_id: str) -> list[Cluster]:
        """One for every provider and region that has a live node and that the workspace may use."""
        permit(caller, Operation.READ_WORKSPACE)
        async with self._database.connection() as connection:
            await workspace_for(connection, caller, workspace_id)
            pools = await clusters.list_pools(connection, caller.user.regions, self._clock())
        return [
            Cluster(provider, region, list(found))
            for (provider, region), found in groupby(pools, lambda pool: (pool.provider, pool.region))
        ]
