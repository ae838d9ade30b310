"""Clusters: the nodes that jobs can run on."""

from litestar import get

from openhtc.api.requests import PathText, WithCaller, WithServices
from openhtc.api.schemas.clusters import ClustersBody, clusters_body


@get("/htc/gcp/clusters/{workspace_id:str}", summary="The node pools that the workspace's jobs can run on")
async def get_clusters(services: WithServices, caller: WithCaller, workspace_id: PathText) -> ClustersBody:
    """One cluster for every provider and region of the workspace with a node that lives now, whatever the provider.

    A node that serves several regions appears in each of them.
    """
    return clusters_body(await services.clusters.of_workspace(caller, workspace_id))


HANDLERS = [get_clusters]
