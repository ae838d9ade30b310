"""HTC switched off, users disabled, join tokens revoked, signing keys changed: what it means over HTTP."""

import asyncio
import base64
import json
import os
from collections.abc import Iterator

import asyncpg
import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from openhtc.embedded.layout import DataLayout
from openhtc.settings.server import ServerSettings
from openhtc.settings.source import load

from ...stack import IMAGE, Api, Image, Json, Stack, User, bearer_of, ok, shell, wait_until
from .refusals import refused

SCRIPT = 'echo "$RESCALE_HTC_BEARER_TOKEN"; echo "$RESCALE_HTC_REFRESH_TOKEN"; sleep 8; echo done'
HELLO = {
    "name": "node-x",
    "regions": ["AWS_SA_EAST_1"],
    "capacity": {"vcpus": 1, "memory_mib": 1, "disk_gib": 1},
    "architecture": "X86",
    "runtime": "bubblewrap",
    "version": "0",
}


@pytest.fixture(scope="module")
def olga(stack: Stack) -> User:
    """Somebody in a workspace that is switched off now and then."""
    return stack.new_user("olga", stack.new_workspace("off and on", "AWS_US_WEST_2"))


@pytest.fixture
def switched_on(stack: Stack, olga: User) -> Iterator[None]:
    yield
    stack.admin("workspaces", "htc", olga.workspace_id, "--on")


def switch_off(stack: Stack, olga: User) -> None:
    stack.admin("workspaces", "htc", olga.workspace_id, "--off")


def htc(anonymous: Api, key: str) -> bool:
    found = ok(anonymous.get("/auth/whoami", headers={"Authorization": f"Token {key}"}))
    features = {item["name"]: item["value"] for item in found["userFeatures"]["results"]}
    return bool(features["htc"])


def test_a_workspace_without_htc(
    stack: Stack, anonymous: Api, olga: User, switched_on: None, busybox_image: Image
) -> None:
    with Api(stack, bearer_of(stack, olga.api_key)) as api:
        project = api.new_project("off and on")["projectId"]
        assert htc(anonymous, olga.api_key)
        switch_off(stack, olga)
        assert not htc(anonymous, olga.api_key)
        body = {"projectName": "p", "projectDescription": ""}
        for answer in (
            api.get("/htc/projects"),
            api.post("/htc/projects", json=body),
            api.get(f"/htc/projects/{project}"),
            api.get("/auth/token/whoami"),
            api.get("/htc/regions"),
        ):
            assert "switched off" in refused(answer, 403, "HTC_DISABLED")
    with Api(stack, bearer_of(stack, olga.api_key)) as api:
        refused(api.get("/htc/projects"), 403, "HTC_DISABLED")
        stack.admin("workspaces", "htc", olga.workspace_id, "--on")
        ok(api.get("/htc/projects"))


def test_jobs_end_as_promised_without_htc(
    stack: Stack, olga: User, switched_on: None, busybox_image: Image
) -> None:
    with Api(stack, bearer_of(stack, olga.api_key)) as api:
        project = api.new_project("promised")
        api.push(project, busybox_image, IMAGE)
        task = api.new_task(project["projectId"])
        job_id = task.submit_one(shell(SCRIPT))
        bearer, refresh = wait_until(lambda: task.log(job_id), lambda lines: len(lines) == 2, 60)
        switch_off(stack, olga)
        refused(api.get(task.path), 403, "HTC_DISABLED")
        with Api(stack, bearer) as job:
            ok(job.get(task.path))
            ok(job.get(f"{task.path}/storage/token"))
            assert bearer_of(stack, refresh, "Refresh")
            wait_until(lambda: job.get(task.path).status_code, lambda status: status == 401, 60)
        stack.admin("workspaces", "htc", olga.workspace_id, "--on")
        assert task.job(job_id)["status"] == "SUCCEEDED"
        assert task.log(job_id)[-1] == "done"


def test_a_disabled_user(stack: Stack, anonymous: Api, busybox_image: Image) -> None:
    user = stack.new_user("dora")
    refresh = stack.new_key(user.id, "refresh")
    with Api(stack, bearer_of(stack, user.api_key)) as api:
        project = api.new_project("of dora")
        registry = api.get(f"/htc/projects/{project['projectId']}/container-registry/token").text
        stack.admin("users", "disable", user.id)
        assert "disabled" in refused(api.get("/htc/projects"), 401, "UNAUTHORIZED")
        for header in (f"Token {user.api_key}", f"Refresh {refresh}"):
            for path in ("/auth/token", "/auth/whoami"):
                refused(anonymous.get(path, headers={"Authorization": header}), 401, "UNAUTHORIZED")
        assert registry_status(stack, registry) == 401
        stack.admin("users", "enable", user.id)
        ok(api.get("/htc/projects"))
        assert registry_status(stack, registry) == 200
        assert bearer_of(stack, refresh, "Refresh")


def registry_status(stack: Stack, password: str) -> int:
    """Of a registry client that logs in."""
    url = f"{stack.root_url}/registry/token?service=openhtc-registry"
    return httpx.get(url, auth=("AWS", password), trust_env=False).status_code


def test_roles_hold_from_the_next_request(stack: Stack, alice_api: Api, project: Json) -> None:
    user = stack.new_user("rosa")
    path = f"/htc/projects/{project['projectId']}/dimensions"
    with Api(stack, bearer_of(stack, user.api_key)) as api:
        refused(api.put(path, json=[]), 403, "FORBIDDEN")
        stack.admin("users", "grant", user.id, "workspace_admin")
        assert api.put(path, json=[]).status_code == 201
        stack.admin("users", "revoke", user.id, "workspace_admin")
        refused(api.put(path, json=[]), 403, "FORBIDDEN")


def test_a_revoked_join_token(stack: Stack) -> None:
    """The sessions of its agents end, whatever they ask next; nobody opens another one with it."""
    stack.admin("regions", "set", "AWS_SA_EAST_1")
    made = stack.admin("join-tokens", "create", "--region", "AWS_SA_EAST_1", "--label", "a node")
    with httpx.Client(base_url=f"{stack.agents_url}/agent/v1", trust_env=False) as agent:
        key = {"Authorization": f"Token {made['key']}"}
        elsewhere = {**HELLO, "regions": ["GCP_US_CENTRAL_1"]}
        assert agent.post("/session", json=elsewhere, headers=key).status_code == 403
        session = ok(agent.post("/session", json=HELLO, headers=key))
        bearer = {"Authorization": f"Bearer {session['token']}"}
        ok(agent.post("/renew", headers=bearer))
        stack.admin("join-tokens", "revoke", made["key_id"])
        lease = {"free": HELLO["capacity"], "max_jobs": 1, "wait_seconds": 0}
        for path, body in (("/renew", None), ("/lease", lease), ("/report", {"jobs": [], "chunks": []})):
            refused(agent.post(path, json=body, headers=bearer), 401, "UNAUTHORIZED")
        refused(agent.post("/session", json=HELLO, headers=key), 401, "UNAUTHORIZED")


def test_rotation_logs_nobody_out(stack: Stack, anonymous: Api, alice: User) -> None:
    """Old tokens go on, the new key is published before it signs, and then it signs."""
    refresh = stack.new_key(alice.id, "refresh")
    tokens = [bearer_of(stack, alice.api_key)]
    kid = stack.admin("rotate-signing-key")["kid"]
    keys = wait_until(lambda: public_keys(anonymous), lambda keys: kid in kids(keys), 45)
    tokens.append(bearer_of(stack, alice.api_key))
    assert kid_of(tokens[1]) == kid_of(tokens[0]) != kid
    age_signing_keys(stack)
    tokens.append(
        wait_until(
            lambda: public_keys(anonymous) and bearer_of(stack, refresh, "Refresh"),
            lambda token: kid_of(token) == kid,
            45,
        )
    )
    for token in tokens:
        claims = ok(anonymous.get("/auth/token/whoami", headers={"Authorization": f"Bearer {token}"}))
        assert claims == jwt.decode(token, KeySet.import_key_set({"keys": keys}), ["RS256"]).claims


def public_keys(anonymous: Api) -> list[Json]:
    """A token with a key id that nobody knows makes the server look for new keys at once."""
    header = "eyJhbGciOiJSUzI1NiIsImtpZCI6Im5vYm9keSdzIn0"
    refused(anonymous.get("/htc/projects", headers={"Authorization": f"Bearer {header}.e30.e30"}), 401)
    found: list[Json] = ok(anonymous.get("/.well-known/jwks.json"))["keys"]
    return found


def kids(keys: list[Json]) -> set[str]:
    return {key["kid"] for key in keys}


def kid_of(token: str) -> str:
    return str(json.loads(base64.urlsafe_b64decode(token.split(".", maxsplit=1)[0] + "=="))["kid"])


def age_signing_keys(stack: Stack) -> None:
    """As if the rotation had been some minutes ago."""
    settings = load(ServerSettings, DataLayout(stack.data).server_settings, os.environ)

    async def age() -> None:
        connection = await asyncpg.connect(settings.database_url)
        await connection.execute("UPDATE signing_keys SET created_at = created_at - interval '2 minutes'")
        await connection.close()

    asyncio.run(age())
