"""P1 to P6: how the client signs in."""

import base64
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.hashes import SHA256
from rescalehtc import HtcSession, api
from rescalehtc.exceptions import HtcException

from ..stack import Stack, User, run

CLAIMS = ("userFullName", "userEmail", "workspaceName", "workspaceId", "organizationCode")

SETTINGS = """
import logging, sys
logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
from rescalehtc.internals import constants
constants._RESCALE_API_BASE_URL, constants._CONFIG_FOLDER = sys.argv[1], sys.argv[2]
del sys.argv[1:]
"""
RAUTHENTICATE = f"{SETTINGS}\nfrom rescalehtc.scripts.rauthenticate import argmain\nargmain()"
USE = f"""{SETTINGS}
from rescalehtc import HtcSession, api
rescale = HtcSession()
print("signed in", file=sys.stderr)
print(api.get_auth_token_whoami(rescale)["userEmail"])
"""


def client_process(stack: Stack, folder: Path, program: str, **env: str) -> Any:
    """The client in a process of its own, with a config folder of its own."""
    return run(sys.executable, "-c", program, stack.base_url, str(folder), env=env)


def asked(output: str) -> list[str]:
    """The paths that a client process asked for."""
    return [line.split('"')[1].split()[1] for line in output.splitlines() if "HTTP/1.1" in line]


def test_p1_session_from_an_api_key(alice: User, requests_made: Callable[[], list[str]]) -> None:
    session = HtcSession(api_key=alice.api_key)
    assert len(session.RESCALE_HTC_BEARER_TOKEN.split(".")) == 3
    for _ in range(20):
        api.get_htc_projects(session)
    made = requests_made()
    assert made.count("GET /api/v1/auth/token") == 1
    assert sum(request.startswith("GET /api/v1/htc/projects") for request in made) >= 20


def test_p2_session_from_a_wrong_key(client_settings: None, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(HtcException, match="Failed to authenticate"):
        HtcSession(api_key="wrong")
    assert "HTTP 401" in caplog.text
    assert "UNAUTHORIZED" in caplog.text


@pytest.fixture(scope="module")
def signed_in(stack: Stack, alice: User, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A config folder that `rauthenticate` wrote, and what it printed."""
    folder = tmp_path_factory.mktemp("config") / "rescalehtc"
    return folder, client_process(stack, folder, RAUTHENTICATE, RESCALE_API_TOKEN=alice.api_key)


def test_p3_rauthenticate(signed_in: tuple[Path, Any], alice: User, stack: Stack) -> None:
    folder, done = signed_in
    assert done.returncode == 0, done.stderr
    assert asked(done.stderr) == [
        "/api/v1/auth/whoami",
        "/api/v1/auth/token",
        "/api/v1/auth/token/whoami",
    ]
    shown = next(line for line in done.stdout.splitlines() if line.startswith("You are: "))
    assert f"{alice.full_name} ({alice.email}), in organization local, on workspace" in shown
    assert f"({stack.credentials['workspace_id']})" in shown
    workspace = (folder / "default").readlink()
    assert workspace.parent == folder and workspace.name in shown
    key = workspace / "rescale_api_token.txt"
    assert key.read_text() == alice.api_key
    assert key.stat().st_mode & 0o777 == 0o600


def test_p4_session_reuses_the_saved_token(signed_in: tuple[Path, Any], stack: Stack, alice: User) -> None:
    folder, _ = signed_in
    done = client_process(stack, folder, USE)
    assert done.stdout.strip() == alice.email, done.stderr
    assert asked(done.stderr.split("signed in")[0]) == []


def test_p5_session_from_a_refresh_token(stack: Stack, alice: User, tmp_path: Path) -> None:
    refresh = stack.new_key(alice.id, "refresh")
    done = client_process(stack, tmp_path, USE, RESCALE_HTC_REFRESH_TOKEN=refresh)
    assert done.stdout.strip() == alice.email, done.stderr
    assert asked(done.stderr) == ["/api/v1/auth/token", "/api/v1/auth/token/whoami"]


def number(text: str) -> int:
    return int.from_bytes(decode(text), "big")


def decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_p6_bearer_token_verifies_with_the_published_key(htc: HtcSession, alice: User) -> None:
    token = htc.get_bearer_token()
    assert {name: token.payload[name] for name in CLAIMS if not token.payload[name]} == {}
    assert token.payload["userEmail"] == alice.email
    assert token.payload["exp"] - token.payload["iat"] == 6 * 3600
    keys = {key["kid"]: key for key in api.get_well_known_jwks(htc)["keys"]}
    key = keys[token.header["kid"]]
    assert (key["kty"], key["use"], key["alg"], token.header["alg"]) == ("RSA", "sig", "RS256", "RS256")
    signed, _, signature = token.encoded_token.rpartition(".")
    public = RSAPublicNumbers(number(key["e"]), number(key["n"])).public_key()
    public.verify(decode(signature), signed.encode(), PKCS1v15(), SHA256())
    assert json.loads(decode(signed.split(".")[1])) == token.payload
