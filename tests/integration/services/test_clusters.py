"""The node pools that a workspace sees."""

from ..world import LEASE_SECONDS, REGION, caller
from .conftest import Core

OTHER = "GCP_US_EAST_1"


async def test_pools_are_the_live_nodes_of_the_workspaces_regions(core: Core) -> None:
    who = caller(await core.world.user(regions=(OTHER, REGION)))
    workspace = who.user.workspace_id
    assert await core.clusters.of_workspace(who, workspace) == []
    await core.world.agent(machine_type="gone")
    core.world.clock.step(LEASE_SECONDS + 1)
    for version in ("0.2", "0.1", "0.2"):
        await core.world.agent(machine_type="small", version=version)
    await core.world.agent(machine_type="large", regions=[REGION, OTHER])
    await core.world.agent(machine_type="small", provider="slurm")
    await core.world.agent(region="AWS_EU_WEST_1")
    found = await core.clusters.of_workspace(who, workspace)
    seen = {
        (cluster.provider, cluster.region): [
            (pool.machine_type, pool.versions, pool.nodes) for pool in cluster.pools
        ]
        for cluster in found
    }
    assert seen == {
        ("local", REGION): [("large", ["0"], 1), ("small", ["0.1", "0.2"], 3)],
        ("local", OTHER): [("large", ["0"], 1)],
        ("slurm", REGION): [("small", ["0"], 1)],
    }
    assert len(found) == len(seen)
    core.world.clock.step(LEASE_SECONDS + 1)
    assert await core.clusters.of_workspace(who, workspace) == []
