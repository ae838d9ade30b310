"""P26 and C35 over HTTP: retention policies."""

from typing import Any

import pytest

from ...stack import Api, Json, User, ok
from .refusals import refused

HOURS = {"archiveAfter": 168, "deleteAfter": 24}


@pytest.fixture
def path(alice_api: Api) -> str:
    return f"/htc/projects/{alice_api.new_project('to be kept')['projectId']}/task-retention-policy"


@pytest.fixture(scope="module")
def workspace_path(stranger: User) -> str:
    """The other workspace, whose admin is the stranger: no test of the first one is disturbed."""
    return f"/htc/workspaces/{stranger.workspace_id}/task-retention-policy"


def created(api: Api, path: str, **hours: Any) -> Json:
    answer = api.put(path, json={**HOURS, **hours})
    assert answer.status_code == 201, answer.text
    body: Json = answer.json()
    return body


def test_p26_a_project_s_policy(alice_api: Api, bob_api: Api, wanda_api: Api, path: str) -> None:
    refused(alice_api.get(path), 404, "NOT_FOUND")
    first = created(alice_api, path)
    assert {**first, "createdAt": ""} == {**HOURS, "projectId": path.split("/")[3], "createdAt": ""}
    assert ok(bob_api.get(path)) == first
    second = created(wanda_api, path, archiveAfter=0)
    assert (second["archiveAfter"], second["deleteAfter"]) == (0, 24)
    assert ok(alice_api.get(path)) == second
    assert "owner or admin" in refused(bob_api.put(path, json=HOURS), 403)
    refused(bob_api.delete(path), 403)
    assert ok(alice_api.get(path)) == second
    gone = alice_api.delete(path)
    assert (gone.status_code, gone.content) == (204, b"")
    refused(alice_api.get(path), 404)
    refused(alice_api.delete(path), 404)


def test_p26_a_workspace_s_policy(
    alice: User, alice_api: Api, wanda_api: Api, stranger_api: Api, workspace_path: str
) -> None:
    refused(stranger_api.get(workspace_path), 404)
    made = created(stranger_api, workspace_path, archiveAfter=0, deleteAfter=0)
    assert set(made) == {"archiveAfter", "deleteAfter", "workspaceId", "createdAt"}
    assert ok(stranger_api.get(workspace_path)) == made
    for api in (alice_api, wanda_api):
        refused(api.get(workspace_path), 403)
        refused(api.put(workspace_path, json=HOURS), 403)
    own = workspace_path.replace(workspace_path.split("/")[3], alice.workspace_id)
    assert "admin" in refused(alice_api.put(own, json=HOURS), 403)
    refused(stranger_api.put(own, json=HOURS), 403)
    refused(alice_api.get("/htc/workspaces/99-9999999/task-retention-policy"), 404)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"archiveAfter": -1}, "archiveAfter: -1 is below 0"),
        ({"deleteAfter": 2**31}, "deleteAfter: 2147483648 is above 2147483647"),
        ({"deleteAfter": "many"}, 'deleteAfter: "many" is of type str, expected int'),
        ({"archiveAfter": 1.5}, "archiveAfter: 1.5 is of type float, expected int"),
        ({"archiveAfter": None}, "archiveAfter: null is of type null, expected int"),
        ({"archiveAfter": ...}, "the required member archiveAfter is missing"),
        ({"deleteAfter": ...}, "the required member deleteAfter is missing"),
    ],
)
def test_what_is_no_policy(
    alice_api: Api, stranger_api: Api, path: str, workspace_path: str, body: Json, said: str
) -> None:
    whole = {name: value for name, value in {**HOURS, **body}.items() if value is not ...}
    for api, where in ((alice_api, path), (stranger_api, workspace_path)):
        assert said in refused(api.put(where, json=whole), 400, "INVALID_REQUEST")
    refused(alice_api.get(path), 404)


def test_the_bounds_and_members_that_mean_nothing(alice_api: Api, path: str) -> None:
    made = created(alice_api, path, archiveAfter=0, deleteAfter=2**31 - 1, projectId="mine", colour="red")
    assert (made["archiveAfter"], made["deleteAfter"]) == (0, 2**31 - 1)
    assert made["projectId"] == path.split("/")[3] and "colour" not in made


def test_bodies_that_are_no_objects(alice_api: Api, path: str) -> None:
    for content in (b"", b"[]", b"{", b"null", b'"x"'):
        answer = alice_api.put(path, content=content, headers={"Content-Type": "application/json"})
        refused(answer, 400)
