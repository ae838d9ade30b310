"""The body of the clusters operation."""

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

import openhtc
from openhtc.domain.dimensions import ScalingProfile
from openhtc.domain.regions import Region
from openhtc.services.clusters import Cluster
from openhtc.storage.clusters import Pool

_PROJECT = "openhtc"
_RUNNING = "RUNNING"


class PoolScaling(Struct, frozen=True, rename="camel"):
    """This server starts and stops no nodes by itself: both counts are those that live now."""

    enabled: bool
    min_node_count: int
    max_node_count: int


class NodePoolBody(Struct, frozen=True, rename="camel"):
    """The live nodes of one machine type."""

    name: str
    version: Annotated[str, Meta(description="Of the agents; several are separated by commas")]
    instance_type: str
    status: str
    autoscaling: PoolScaling


class ClusterBody(Struct, frozen=True, rename="camel"):
    """The live nodes of one provider in one region."""

    name: str
    region: Region
    version: Annotated[str, Meta(description="Of the server")]
    status: str
    node_pools: list[NodePoolBody]
    autoscaling: ScalingProfile
    subnetwork: Annotated[str, Meta(description="Left out: there is none")] | UnsetType = UNSET


class ClustersBody(Struct, frozen=True, rename="camel"):
    gcp_project_id: Annotated[str, Meta(description="Always openhtc: no project of a cloud is behind it")]
    clusters: list[ClusterBody]


def clusters_body(clusters: list[Cluster]) -> ClustersBody:
    return ClustersBody(_PROJECT, [_cluster(cluster) for cluster in clusters])


def _cluster(cluster: Cluster) -> ClusterBody:
    return ClusterBody(
        name=f"{cluster.provider}-{cluster.region.lower().replace('_', '-')}",
        region=Region(cluster.region),
        version=openhtc.__version__,
        status=_RUNNING,
        node_pools=[_pool(pool) for pool in cluster.pools],
        autoscaling=ScalingProfile.PROFILE_UNSPECIFIED,
    )


def _pool(pool: Pool) -> NodePoolBody:
    return NodePoolBody(
        name=pool.machine_type,
        version=", ".join(pool.versions),
        instance_type=pool.machine_type,
        status=_RUNNING,
        autoscaling=PoolScaling(enabled=False, min_node_count=pool.nodes, max_node_count=pool.nodes),
    )
