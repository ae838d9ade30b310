"""C31: limits over plain HTTP."""

from collections.abc import Iterator

import pytest

from ...stack import Api, Json
from .refusals import refused


@pytest.fixture
def limits(alice_api: Api) -> Iterator[str]:
    """The path of the limits of a fresh project of alice."""
    yield f"/htc/projects/{alice_api.new_project('limited')['projectId']}/limits"


def put(api: Api, path: str, role: str, vcpus: object) -> Json:
    answer = api.post(path, json={"modifierRole": role, "vCPUs": vcpus})
    assert answer.status_code == 201, answer.text
    found: Json = answer.json()
    return found


def test_c31_setting_changing_and_removing(alice_api: Api, limits: str) -> None:
    first = put(alice_api, limits, "PROJECT_ADMIN", 4)
    again = put(alice_api, limits, "PROJECT_ADMIN", 8)
    assert (again["id"], again["createdAt"], again["vCPUs"]) == (first["id"], first["createdAt"], 8)
    changed = alice_api.patch(f"{limits}/{first['id']}", json={"vCPUs": 0})
    assert (changed.status_code, changed.json()["vCPUs"]) == (200, 0)
    assert alice_api.get(limits).json() == [changed.json()]
    gone = alice_api.delete(f"{limits}/{first['id']}")
    assert (gone.status_code, gone.content) == (204, b"")
    assert alice_api.get(limits).json() == []
    refused(alice_api.get(f"{limits}/{first['id']}"), 404, "NOT_FOUND")
    refused(alice_api.delete(f"{limits}/{first['id']}"), 404, "NOT_FOUND")
    assert alice_api.delete(limits).status_code == 204


def test_c31_what_only_admins_may(alice_api: Api, wanda_api: Api, limits: str) -> None:
    body = {"modifierRole": "WORKSPACE_ADMIN", "vCPUs": 4}
    refused(alice_api.post(limits, json=body), 403, "FORBIDDEN")
    theirs = put(wanda_api, limits, "WORKSPACE_ADMIN", 4)
    mine = put(alice_api, limits, "PROJECT_ADMIN", 5)
    refused(alice_api.delete(limits), 403, "FORBIDDEN")
    refused(alice_api.patch(f"{limits}/{theirs['id']}", json={"vCPUs": 5}), 403, "FORBIDDEN")
    assert {limit["id"] for limit in alice_api.get(limits).json()} == {mine["id"], theirs["id"]}
    assert wanda_api.delete(limits).status_code == 204


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"vCPUs": 4}, "the required member modifierRole is missing"),
        ({"modifierRole": "PROJECT_ADMIN"}, "the required member vCPUs is missing"),
        ({"modifierRole": "KING", "vCPUs": 4}, '"KING" is none of WORKSPACE_ADMIN, PROJECT_ADMIN'),
        ({"modifierRole": "PROJECT_ADMIN", "vCPUs": -1}, "vCPUs: -1 is below 0"),
        ({"modifierRole": "PROJECT_ADMIN", "vCPUs": 1_000_000}, "vCPUs: 1000000 is above 999999"),
        ({"modifierRole": "PROJECT_ADMIN", "vCPUs": 1.5}, "vCPUs: 1.5 is of type float, expected int"),
    ],
)
def test_c31_refused(alice_api: Api, limits: str, body: Json, message: str) -> None:
    assert message in refused(alice_api.post(limits, json=body), 400, "INVALID_REQUEST")
    assert alice_api.get(limits).json() == []


def test_ids_that_no_limit_has(alice_api: Api, limits: str) -> None:
    for unknown in ("0", "-1", str(2**31), str(2**63), "x"):
        assert alice_api.get(f"{limits}/{unknown}").status_code in (400, 404), unknown


def test_a_workspace_without_a_limit(alice_api: Api, stack_workspace: str) -> None:
    refused(alice_api.get(f"/htc/workspaces/{stack_workspace}/limits"), 404, "NOT_FOUND")
    refused(alice_api.get("/htc/workspaces/99-nothing/limits"), 404, "NOT_FOUND")


@pytest.fixture
def stack_workspace(credentials: dict[str, str]) -> str:
    return credentials["workspace_id"]
