"""C6 and operation 5: bearer tokens for clients that bring an OAuth 2.0 library."""

import base64
from collections.abc import Callable
from urllib.parse import quote_plus

import httpx
import pytest

from ...stack import Api, Stack, Task, User, ok, shell, wait_until
from .refusals import MEMBERS

Form = dict[str, str]
PATH = "/oauth2/token"


def refused(answer: httpx.Response, code: str) -> str:
    """The text of a refusal that is one of RFC 6749 and has our members, too."""
    assert answer.status_code == 400, answer.text
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert set(body) == MEMBERS | {"error_description"}
    assert body["error"] == body["errorType"] == code, body
    assert body["error_description"] == body["errorDescription"] == body["message"] != ""
    return str(body["message"])


def basic(name: str, secret: str) -> dict[str, str]:
    """RFC 6749, 2.3.1: both parts are form-encoded before they go into HTTP Basic."""
    text = f"{quote_plus(name)}:{quote_plus(secret)}"
    return {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}


def client(secret: str) -> Form:
    return {"grant_type": "client_credentials", "client_secret": secret}


@pytest.fixture(scope="module")
def refresh_token(stack: Stack, alice: User) -> str:
    return stack.new_key(alice.id, "refresh")


def bearer(stack: Stack, answer: httpx.Response) -> Api:
    found = ok(answer)
    assert set(found) == {"access_token", "token_type", "expires_in"}
    assert found["token_type"] == "Bearer"
    assert isinstance(found["expires_in"], int) and found["expires_in"] > 8400
    assert answer.headers["cache-control"] == "no-store"
    return Api(stack, found["access_token"])


def test_c6_client_credentials(stack: Stack, anonymous: Api, alice: User) -> None:
    key = alice.api_key
    named = {**client(key), "client_id": alice.email, "scope": "htc", "unknown": "ignored"}
    for answer in (
        anonymous.post(PATH, data=client(key)),
        anonymous.post(PATH, data=named),
        anonymous.post(PATH, data={**client(key), "refresh_token": ""}),
        anonymous.post(PATH, data={"grant_type": "client_credentials"}, headers=basic("any one", key)),
        anonymous.post(PATH, data={"grant_type": "client_credentials"}, headers=basic("", key)),
        anonymous.post(stack.root_url + PATH, data=client(key)),
    ):
        with bearer(stack, answer) as api:
            assert ok(api.get("/auth/token/whoami"))["userId"] == alice.id


def test_c6_refresh_token(stack: Stack, anonymous: Api, alice: User, refresh_token: str) -> None:
    form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
    for more in ({}, {"client_id": "x"}, {"client_secret": alice.api_key}):
        with bearer(stack, anonymous.post(PATH, data={**form, **more})) as api:
            assert ok(api.get("/auth/token/whoami"))["userId"] == alice.id


@pytest.mark.parametrize("kind", ["", "wrong", "a refresh token", "é", "x" * 5000])
def test_c6_bad_secret(anonymous: Api, refresh_token: str, kind: str) -> None:
    secret = refresh_token if kind == "a refresh token" else kind
    said = refused(anonymous.post(PATH, data=client(secret)), "invalid_client")
    assert said.startswith("client_secret: ")
    form = {"grant_type": "client_credentials"}
    refused(anonymous.post(PATH, data=form, headers=basic("x", secret)), "invalid_client")


@pytest.mark.parametrize(
    ("form", "code", "said"),
    [
        (
            {"scope": "htc"},
            "invalid_request",
            "grant_type: missing, expected client_credentials or refresh_token",
        ),
        ({"grant_type": ""}, "invalid_request", "grant_type: missing"),
        ({"grant_type": "password"}, "unsupported_grant_type", "grant_type: 'password' is none of"),
        ({"grant_type": "Client_Credentials"}, "unsupported_grant_type", "is none of"),
        ({"grant_type": "client_credentials"}, "invalid_client", "client_secret: missing"),
        ({"grant_type": "refresh_token"}, "invalid_request", "refresh_token: missing"),
        ({"grant_type": "refresh_token", "refresh_token": "wrong"}, "invalid_grant", "refresh_token: "),
        ({"grant_type": "refresh_token", "refresh_token": "ohj_a.b"}, "invalid_grant", "refresh_token: "),
    ],
)
def test_c6_what_is_missing_or_wrong(anonymous: Api, form: Form, code: str, said: str) -> None:
    assert said in refused(anonymous.post(PATH, data=form), code)


def test_a_secret_that_is_no_refresh_token(anonymous: Api, alice: User, refresh_token: str) -> None:
    form = {"grant_type": "refresh_token", "refresh_token": alice.api_key}
    refused(anonymous.post(PATH, data=form), "invalid_grant")
    form = {"grant_type": "refresh_token", "refresh_token": refresh_token, "client_secret": "wrong"}
    refused(anonymous.post(PATH, data=form), "invalid_client")


def test_another_users_refresh_token(anonymous: Api, bob: User, refresh_token: str) -> None:
    form = {"grant_type": "refresh_token", "refresh_token": refresh_token, "client_secret": bob.api_key}
    refused(anonymous.post(PATH, data=form), "invalid_grant")


@pytest.mark.parametrize(
    ("content", "kind", "said"),
    [
        (b"", None, "Content-Type: nothing, expected application/x-www-form-urlencoded"),
        (b'{"grant_type": "client_credentials"}', "application/json", "Content-Type: application/json"),
        (b"grant_type=refresh_token", "text/plain", "Content-Type: text/plain"),
        (b"--x--\r\n", "multipart/form-data; boundary=x", "Content-Type: multipart/form-data"),
        (b"grant_type=a&grant_type=a", "", "grant_type: given 2 times"),
        (b"grant_type=refresh_token&scope=&scope=", "", "scope: given 2 times"),
        (b"grant_type=%ff", "", "the form cannot be read"),
        (b"grant_type=\xff", "", "the form cannot be read"),
        (b"&".join(b"f%d=1" % n for n in range(200)), "", "the form cannot be read"),
        (b"", "", "grant_type: missing"),
        (b"no equals sign", "; charset=utf-8", "grant_type: missing"),
    ],
)
def test_bodies_that_are_no_form(anonymous: Api, content: bytes, kind: str | None, said: str) -> None:
    given = kind if kind is None or "/" in kind else f"application/x-www-form-urlencoded{kind}"
    answer = anonymous.post(PATH, content=content, headers={} if given is None else {"Content-Type": given})
    assert said in refused(answer, "invalid_request")


def test_a_form_without_end(anonymous: Api) -> None:
    answer = anonymous.post(PATH, data={"grant_type": "x" * 100_000})
    assert answer.status_code == 413
    assert set(answer.json()) == MEMBERS


def test_authentication_in_two_ways(anonymous: Api, alice: User) -> None:
    headers = basic("one", alice.api_key)
    said = refused(anonymous.post(PATH, data=client(alice.api_key), headers=headers), "invalid_request")
    assert "not in both" in said
    form = {"grant_type": "client_credentials", "client_id": "two"}
    assert "client_id" in refused(anonymous.post(PATH, data=form, headers=headers), "invalid_request")
    ok(anonymous.post(PATH, data={**form, "client_id": "one"}, headers=headers))


@pytest.mark.parametrize(
    "header", ["Basic", "Basic é", "Basic !!", "Basic bm9jb2xvbg==", "Bearer {key}", "{key}"]
)
def test_headers_that_are_no_basic(anonymous: Api, alice: User, header: str) -> None:
    headers = {b"Authorization": header.format(key=alice.api_key).encode()}
    answer = anonymous.post(PATH, data={"grant_type": "client_credentials"}, headers=headers)
    assert "Basic" in refused(answer, "invalid_client")


def test_other_methods(anonymous: Api) -> None:
    assert anonymous.get(PATH).status_code == 405


def test_a_revoked_key_and_a_revoked_refresh_token(stack: Stack, anonymous: Api, alice: User) -> None:
    for kind, code in (("api", "invalid_client"), ("refresh", "invalid_grant")):
        made = stack.admin("keys", "create", "--user", alice.id, "--kind", kind)
        form = client(made["key"])
        if kind == "refresh":
            form = {"grant_type": "refresh_token", "refresh_token": made["key"]}
        ok(anonymous.post(PATH, data=form))
        stack.admin("keys", "revoke", made["key_id"])
        refused(anonymous.post(PATH, data=form), code)


def test_a_jobs_own_refresh_token(
    stack: Stack, anonymous: Api, task: Task, connect_as: Callable[[User], Api]
) -> None:
    script = 'echo "$RESCALE_HTC_REFRESH_TOKEN"; sleep 300'
    job_id = task.submit_one(shell(script, claims=[{"name": "shift", "value": "night"}]))
    (refresh,) = wait_until(lambda: task.log(job_id), lambda lines: len(lines) == 1, 60)
    form = {"grant_type": "refresh_token", "refresh_token": refresh}
    found = ok(anonymous.post(PATH, data=form))
    with Api(stack, found["access_token"]) as api:
        claims = ok(api.get("/auth/token/whoami"))
        assert (claims["use"], claims["userDefined_shift"]) == ("job", "night")
        assert claims["exp"] - claims["iat"] == found["expires_in"]
        ok(api.get(task.path))
        assert api.get("/htc/projects").status_code == 403
    task.cancel()
    task.wait_for(job_id, "FAILED", 30)
    assert "ended" in refused(anonymous.post(PATH, data=form), "invalid_grant")
