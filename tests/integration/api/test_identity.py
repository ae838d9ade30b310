"""C1 to C5 and C7: tokens, and each kind of credential only where it belongs."""

import base64
import json

import pytest

from ...stack import Api, Json, Stack, User, ok
from .refusals import refused


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer {key}",
        "Token wrong",
        "Token",
        "{key}",
        "Basic {key}",
        "Refresh {key}",
        "Refresh ohj_a.é",
    ],
)
def test_c1_no_token_without_a_good_key(anonymous: Api, alice: User, header: str | None) -> None:
    credential = (header or "").format(key=alice.api_key).encode()
    headers = {} if header is None else {b"Authorization": credential}
    for path in ("/auth/token", "/auth/whoami"):
        refused(anonymous.get(path, headers=headers), 401, "UNAUTHORIZED")


def test_c2_token(anonymous: Api, alice: User) -> None:
    answer = anonymous.get("/auth/token", headers={"Authorization": f"Token {alice.api_key}"})
    found = ok(answer)
    assert isinstance(found["expiresIn"], int) and found["expiresIn"] > 8400
    assert b"." not in answer.content.split(b'"expiresIn":')[1], "an integer is written as one"
    claims = json.loads(base64.urlsafe_b64decode(found["tokenValue"].split(".")[1] + "=="))
    assert claims["exp"] - claims["iat"] == found["expiresIn"]


def test_c3_whoami(anonymous: Api, alice: User, wanda: User) -> None:
    found = ok(anonymous.get("/auth/whoami", headers={"Authorization": f"Token {alice.api_key}"}))
    assert isinstance(found["userFeatures"], dict)
    assert found["userFeatures"]["count"] == len(found["userFeatures"]["results"])
    user = found["user"]
    assert (user["userId"], user["email"], user["fullName"]) == (alice.id, alice.email, alice.full_name)
    assert user["workspace"]["id"] == alice.workspace_id and "/" not in user["workspace"]["name"]
    assert (user["workspaceAdmin"], user["isWorkspaceAdmin"]) == (False, False)
    other = ok(anonymous.get("/auth/whoami", headers={"Authorization": f"Token {wanda.api_key}"}))
    assert other["user"]["isWorkspaceAdmin"] is True


def test_c4_token_whoami(stack: Stack, alice_api: Api, anonymous: Api) -> None:
    claims = ok(alice_api.get("/auth/token/whoami"))
    payload = alice_api.bearer.split(".")[1]
    assert claims == json.loads(base64.urlsafe_b64decode(payload + "=="))
    head, _, signature = alice_api.bearer.rpartition(".")
    changed = f"{head}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}"
    answer = anonymous.get("/auth/token/whoami", headers={"Authorization": f"Bearer {changed}"})
    refused(answer, 401, "UNAUTHORIZED")


def unsigned(token: str) -> str:
    """The same claims without a signature, as a library that trusts the header would take them."""
    header = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
    return f"{header}.{token.split('.')[1]}."


def test_c4_unsigned_token(alice_api: Api, anonymous: Api) -> None:
    headers = {"Authorization": f"Bearer {unsigned(alice_api.bearer)}"}
    refused(anonymous.get("/htc/projects", headers=headers), 401)


def test_c5_public_keys(anonymous: Api) -> None:
    keys = ok(anonymous.get("/.well-known/jwks.json"))["keys"]
    named = {"kty", "kid", "use", "alg"}
    public = {"RS256": ("RSA", named | {"n", "e"}), "ES256": ("EC", named | {"crv", "x", "y"})}
    assert {key["alg"] for key in keys} == set(public)
    assert keys[0]["kty"] == "RSA", "where clients look that know only one key"
    for key in keys:
        assert (key["kty"], set(key)) == public[key["alg"]], "nothing private"


def test_c7_routes_at_the_root(stack: Stack, alice: User, alice_api: Api, project: Json) -> None:
    with Api(stack, alice_api.bearer, base_url=stack.root_url) as api:
        token = api.get("/auth/token", headers={"Authorization": f"Token {alice.api_key}"})
        assert ok(token)["expiresIn"] > 8400
        registry = api.get(f"/htc/projects/{project['projectId']}/container-registry/token")
        assert registry.status_code == 200
        for n in range(2):
            api.new_project(f"at the root {n}")
        page = ok(api.get("/htc/projects", params={"pageSize": 1}))
        assert page["next"].startswith(f"{stack.root_url}/htc/projects?"), "the prefix that the client used"


def test_each_kind_of_token_only_where_it_belongs(
    stack: Stack, anonymous: Api, alice: User, alice_api: Api, project: Json
) -> None:
    registry = alice_api.get(f"/htc/projects/{project['projectId']}/container-registry/token").text
    refused(anonymous.get("/htc/projects", headers={"Authorization": f"Bearer {registry}"}), 401)
    refused(anonymous.get("/htc/projects", headers={"Authorization": f"Token {alice.api_key}"}), 401)
    agent_key = (stack.data / "agent" / "key").read_text().strip()
    refused(anonymous.get("/auth/token", headers={"Authorization": f"Token {agent_key}"}), 401)
    for scheme in ("Bearer", "Token"):
        headers = {"Authorization": f"{scheme} {alice_api.bearer}"}
        answer = anonymous.post(f"{stack.agents_url}/agent/v1/lease", json={}, headers=headers)
        assert answer.status_code in (400, 401), answer.text


def test_revoked_key(stack: Stack, anonymous: Api, alice: User) -> None:
    made = stack.admin("keys", "create", "--user", alice.id)
    headers = {"Authorization": f"Token {made['key']}"}
    ok(anonymous.get("/auth/token", headers=headers))
    stack.admin("keys", "revoke", made["key_id"])
    refused(anonymous.get("/auth/token", headers=headers), 401)
