"""What the API does with requests that no client of good will sends."""

import contextlib
import json
import resource
import socket
import time
from collections.abc import Iterator

import httpx
import pytest

from ..stack import Api, Json, Stack, Task, ok

JSON = {"Content-Type": "application/json"}
SILENT = 1200
"""More than the 1,024 that many servers hold at most."""


def raw(stack: Stack, request: bytes) -> list[int]:
    """The status of every answer on one connection to these bytes."""
    with socket.create_connection(("127.0.0.1", stack.port), timeout=10) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := connection.recv(65536):
                answer += piece
    return [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 5\r\nContent-Length: 0",
        b"Content-Length: +5",
        b"Content-Length: 5, 0",
        b"Transfer-Encoding: xchunked",
        b"Host : x",
    ],
)
def test_doubtful_framing_is_refused(stack: Stack, framing: bytes) -> None:
    second = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    assert raw(stack, b"POST /healthz HTTP/1.1\r\nHost: x\r\n" + framing + b"\r\n\r\n" + second) == [400]


def test_a_second_request_is_not_smuggled_behind_two_framings(stack: Stack) -> None:
    head = b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert len(raw(stack, head + b"0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")) == 1


def test_heads_without_end_are_refused(stack: Stack) -> None:
    assert raw(stack, b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n") == [414]
    head = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 2_000_000 + b"\r\n\r\n"
    # The connection may be closed before all of the head was sent.
    with contextlib.suppress(OSError):
        assert raw(stack, head) == [431]


def test_only_a_trusted_proxy_says_where_the_client_was(alice_api: Api, project: Json) -> None:
    alice_api.new_project("so that there are two")
    forged = {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "javascript"}
    page = ok(alice_api.get("/htc/projects", params={"pageSize": 1}, headers=forged))
    assert page["next"].startswith("http://127.0.0.1:")


@pytest.mark.parametrize(
    "text",
    [
        "' OR 1=1 --",
        "\0",
        "a\0b",
        "%00",
        "%",
        "_",
        "\\",
        "\r\nX-Injected: 1",
        "\u202e",
        "9" * 30,
        "NaN",
        "{}",
    ],
)
def test_no_text_is_an_instruction(alice_api: Api, task: Task, text: str) -> None:
    for path in (f"{task.path}/jobs", f"{task.path}/groups", "/htc/projects"):
        for name in ("group", "jobId", "status", "pageIndex", "pageSize", "view", "sort"):
            answer = alice_api.get(path, params={name: text})
            assert answer.status_code in (200, 400, 404), (path, name, answer.text)
            assert "x-injected" not in answer.headers
    body = {"taskName": text, "taskDescription": text}
    answer = alice_api.post(f"/htc/projects/{task.project_id}/tasks", content=json.dumps(body), headers=JSON)
    assert answer.status_code in (200, 400), answer.text


@pytest.mark.parametrize(
    "path", ["../x", "a/../../x", "..", "a\\..\\x", "a\0b", "/etc", "a//b", "./a", "a/.", "a/", "\x7f", ""]
)
def test_a_path_that_climbs_gets_no_address(alice_api: Api, task: Task, path: str) -> None:
    for place in (task.path, f"/htc/projects/{task.project_id}"):
        answer = alice_api.get(f"{place}/storage/presigned-url", params={"filePath": path})
        assert answer.status_code == 400, answer.text


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 200_000,
        b'{"a":' * 100_000,
        b'["\xff\xfe"]',
        "[]".encode("utf-16"),
        b"",
        b'[{"batchSize":' + b"9" * 10_000,
    ],
    ids=["lists", "objects", "not UTF-8", "UTF-16", "empty", "digits"],
)
def test_a_body_that_cannot_be_read_is_refused(alice_api: Api, task: Task, body: bytes) -> None:
    answer = alice_api.post(f"{task.path}/jobs/batch", content=body, headers=JSON)
    assert answer.status_code == 400, answer.text


@pytest.fixture
def silent(stack: Stack) -> Iterator[list[socket.socket]]:
    """Connections on which nothing is ever said."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4 * SILENT)), hard))
    held: list[socket.socket] = []
    try:
        for _ in range(SILENT):
            held.append(socket.create_connection(("127.0.0.1", stack.port), timeout=10))
        yield held
    finally:
        for connection in held:
            connection.close()


def test_silent_connections_keep_nobody_out(stack: Stack, silent: list[socket.socket]) -> None:
    began = time.monotonic()
    for _ in range(10):
        answer = httpx.get(f"{stack.root_url}/healthz", timeout=10, trust_env=False)
        assert answer.status_code == 200
    assert time.monotonic() - began < 10
    assert len(silent) == SILENT


def test_a_presigned_address_is_for_one_file_and_one_method(
    alice_api: Api, project: Json, task: Task
) -> None:
    answer = alice_api.get(f"{task.path}/storage/presigned-url", params={"filePath": "given"})
    url = ok(answer)["url"]
    assert httpx.get(url, trust_env=False).status_code == 403
    assert httpx.delete(url, trust_env=False).status_code == 403
    for other in ("other", "given/../other", "/given", "given%2f..%2fother"):
        changed = url.replace("/given?", f"/{other}?")
        assert changed != url
        assert httpx.put(changed, content=b"x", trust_env=False).status_code in (400, 403), other
    assert httpx.put(url, content=b"x", trust_env=False).status_code == 200
