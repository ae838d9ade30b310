"""C14 to C16: repositories and images; names with slashes, raw and escaped."""

from collections.abc import Callable
from uuid import uuid4

import pytest

from ...stack import Api, Image, Json, User, ok
from .refusals import refused


@pytest.fixture(scope="module")
def fresh(alice_api: Api) -> Json:
    return alice_api.new_project("registry")


def registry(project: Json) -> str:
    return f"/htc/projects/{project['projectId']}/container-registry"


def test_c14_repositories(alice_api: Api, alice: User, fresh: Json) -> None:
    path = registry(fresh)
    raw = ok(alice_api.post(f"{path}/repo/a/b"))
    escaped = ok(alice_api.post(f"{path}/repo/a%2Fc", json={}))
    assert (raw["repositoryName"], escaped["repositoryName"]) == ("a/b", "a/c")
    assert raw["successfullyCreated"] and escaped["successfullyCreated"]
    assert raw["registryURI"] == fresh["containerRegistry"]
    assert (raw["createdBy"], raw["projectId"]) == (alice.id, fresh["projectId"])
    again = ok(alice_api.post(f"{path}/repo/a%2Fb"))
    assert again["successfullyCreated"] is False, "the same repository in either spelling"
    assert ok(alice_api.get(f"/htc/projects/{fresh['projectId']}"))["repositories"] == ["a/b", "a/c"]


@pytest.mark.parametrize("name", ["Bad_Name", "-a", "a:v1", "a..b", "a b", "%C3%A4", "a" * 300])
def test_c14_bad_names(alice_api: Api, fresh: Json, name: str) -> None:
    text = refused(alice_api.post(f"{registry(fresh)}/repo/{name}"), 400, "INVALID_REQUEST")
    assert "repoName" in text


def test_c15_registry_token(alice_api: Api, fresh: Json) -> None:
    answer = alice_api.get(f"{registry(fresh)}/token")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    safe = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_=+/")
    assert answer.text and set(answer.text) <= safe, "it passes through a shell unquoted"
    refused(alice_api.get(f"/htc/projects/{uuid4()}/container-registry/token"), 404)


def test_c16_images(alice_api: Api, busybox_image: Image, fresh: Json) -> None:
    path = registry(fresh)
    refused(alice_api.get(f"{path}/images/team/tool:v2"), 404, "IMAGE_UNAVAILABLE")
    alice_api.push(fresh, busybox_image, "team/tool:v2")
    alice_api.push(fresh, busybox_image, "plain:latest")
    for name in ("team/tool:v2", "team%2Ftool:v2", "team%2Ftool%3Av2", "plain", "plain:latest"):
        assert ok(alice_api.get(f"{path}/images/{name}")) == {"status": "READY"}
    for name in ("team/tool", "team/tool:v3", "team", "Bad:Name:x", "plain@sha256:00"):
        refused(alice_api.get(f"{path}/images/{name}"), 404, "IMAGE_UNAVAILABLE")
    found = ok(alice_api.get(f"{path}/images"))
    assert found["containerRegistry"] == fresh["containerRegistry"]
    assert set(found["images"]) == {"team/tool:v2", "plain:latest"}
    project = ok(alice_api.get(f"/htc/projects/{fresh['projectId']}"))
    assert {"team/tool", "plain"} <= set(project["repositories"]), "a push makes its repository"


def test_members_share_a_project(connect_as: Callable[[User], Api], bob: User, fresh: Json) -> None:
    assert connect_as(bob).get(f"{registry(fresh)}/token").status_code == 200
