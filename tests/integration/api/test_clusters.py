"""P32: the clusters that a workspace's jobs can run on."""

import openhtc

from ...stack import Api, Stack, User, ok
from .refusals import refused


def test_p32_the_node_of_this_machine(alice_api: Api, alice: User, stack: Stack) -> None:
    found = ok(alice_api.get(f"/htc/gcp/clusters/{alice.workspace_id}"))
    assert found["gcpProjectId"] == "openhtc"
    assert found["clusters"], "the agent that was started is live"
    for cluster in found["clusters"]:
        assert cluster["name"] == f"local-{cluster['region'].lower().replace('_', '-')}"
        assert (cluster["status"], cluster["autoscaling"]) == ("RUNNING", "PROFILE_UNSPECIFIED")
        (pool,) = cluster["nodePools"]
        nodes = pool["autoscaling"].pop("maxNodeCount")
        assert nodes >= 1
        assert pool == {
            "name": pool["instanceType"],
            "instanceType": pool["instanceType"],
            "version": openhtc.__version__,
            "status": "RUNNING",
            "autoscaling": {"enabled": False, "minNodeCount": nodes},
        }
        assert pool["instanceType"].endswith(f"-{stack.vcpus}")
    assert "AWS_US_WEST_2" in [cluster["region"] for cluster in found["clusters"]]


def test_clusters_of_others(stranger_api: Api, anonymous: Api, alice: User, other_workspace: str) -> None:
    path = f"/htc/gcp/clusters/{alice.workspace_id}"
    refused(stranger_api.get(path), 403)
    refused(anonymous.get(path), 401)
    refused(stranger_api.get("/htc/gcp/clusters/99-9999999"), 404)
    own = ok(stranger_api.get(f"/htc/gcp/clusters/{other_workspace}"))["clusters"]
    assert "AWS_US_EAST_1" not in [cluster["region"] for cluster in own], "nothing serves it"
