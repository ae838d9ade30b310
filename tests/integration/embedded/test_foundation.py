"""PostgreSQL, S3 and the registry as they are started for one machine."""

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest

from openhtc.domain.errors import SettingsError
from openhtc.embedded.events import Happening
from openhtc.embedded.foundation import Foundation
from openhtc.embedded.options import UpOptions
from openhtc.embedded.ports import LOOPBACK, choose
from openhtc.embedded.postgres import PostgresPart
from openhtc.embedded.programs import find_postgres
from openhtc.embedded.s3 import BUCKET, REGION
from openhtc.embedded.s3_requests import SignedRequests
from openhtc.embedded.stack import Stack

from .conftest import Recorder, wait_until


def sql(url: str, statement: str) -> str:
    """What psql prints; its error message when the statement fails."""
    done = subprocess.run(
        [find_postgres() / "psql", url, "-XAtqc", statement], capture_output=True, text=True, check=False
    )
    return (done.stdout or done.stderr).strip()


def requests_of(stack: Stack) -> SignedRequests:
    secrets = stack.installation.secrets
    return SignedRequests(
        stack.parts.foundation.s3.address, secrets.s3_access_key, secrets.s3_secret_key, REGION
    )


async def all_healthy(foundation: Foundation) -> str | None:
    answers = [(part.name, await part.check()) for part in foundation.parts]
    wrong = [f"{name}: {problem}" for name, problem in answers if problem is not None]
    return "; ".join(wrong) or None


async def test_data_outlives_kills_and_a_new_start(
    make_stack: Callable[..., Stack], recorder: Recorder
) -> None:
    stack = make_stack()
    foundation = stack.parts.foundation
    await stack.start_foundation()
    assert await all_healthy(foundation) is None
    assert (
        sql(foundation.postgres.url, "CREATE TABLE kept AS SELECT 42 AS answer; SELECT answer FROM kept")
        == "42"
    )
    assert (await requests_of(stack).send("PUT", f"{BUCKET}/a/b", b"kept"))[0] == 200
    certificate = foundation.registry.certificate_file.read_bytes()

    for part in foundation.parts:
        pid = stack.supervisor.pid_of(part.name)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
    for part in foundation.parts:
        await recorder.wait_for(Happening.READY, part.name, 2)
    assert sql(foundation.postgres.url, "SELECT answer FROM kept") == "42"
    assert await requests_of(stack).send("GET", f"{BUCKET}/a/b") == (200, "kept")

    await stack.stop()
    again = make_stack()
    await again.start_foundation()
    assert again.installation.secrets == stack.installation.secrets
    assert sql(again.parts.foundation.postgres.url, "SELECT answer FROM kept") == "42"
    assert await requests_of(again).send("GET", f"{BUCKET}/a/b") == (200, "kept")
    assert again.parts.foundation.registry.certificate_file.read_bytes() == certificate


@pytest.fixture(scope="module")
async def started(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A started stack that its tests only look at."""
    options = UpOptions(data=tmp_path_factory.mktemp("foundation") / "data", port=choose(set()))
    stack = Stack(options)
    try:
        await stack.start_foundation()
        yield stack
    finally:
        await stack.stop()


async def test_everything_listens_on_loopback_and_asks_who_is_there(started: Stack) -> None:
    stack = started
    foundation, ports = stack.parts.foundation, stack.installation.ports
    pids = {stack.supervisor.pid_of(part.name) for part in foundation.parts}
    listening = subprocess.run(
        ["ss", "-Hltnp"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    own = [line for line in listening if any(f"pid={pid}," in line for pid in pids)]
    assert len(own) >= len([port for part in foundation.parts for port in part.ports])
    assert [line for line in own if LOOPBACK + ":" not in line.split()[3]] == []

    anonymous = foundation.postgres.url.split(":")[0] + f"://openhtc@{foundation.postgres.address}/openhtc"
    assert "no password supplied" in sql(anonymous, "SELECT 1")
    assert sql(foundation.postgres.url, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") == "f"
    async with httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(f"{foundation.s3.address}/{BUCKET}/.openhtc/ready")).status_code == 403
        filer = f"http://{LOOPBACK}:{ports.s3_filer}/buckets/{BUCKET}/.openhtc/ready"
        assert (await client.get(filer)).status_code == 401
        assert (await client.put(filer, content=b"x")).status_code == 401
        assert (await client.get(f"{foundation.registry.address}/v2/_catalog")).status_code == 401


async def test_secrets_are_readable_by_their_owner_only(started: Stack) -> None:
    stack = started
    secrets = [
        getattr(stack.installation.secrets, name) for name in stack.installation.secrets.__struct_fields__
    ]
    for path in stack.layout.root.rglob("*"):
        if path.is_file() and path.stat().st_size < 100_000:
            content = path.read_bytes()
            if any(secret.encode() in content for secret in secrets) or b"PRIVATE KEY" in content:
                assert path.stat().st_mode & 0o077 == 0, path


async def test_a_taken_port_is_one_sentence(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack()
    port = stack.installation.ports.registry
    with socket.create_server((LOOPBACK, port)):
        with pytest.raises(SettingsError, match=f"registry needs port {port} on {LOOPBACK}"):
            await stack.start()
        await stack.stop()


async def test_one_directory_has_one_service(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack()
    with pytest.raises(SettingsError, match="is in use: stop it with openhtc down"):
        make_stack()
    await stack.stop()
    make_stack()


async def test_two_installations_live_side_by_side(started: Stack, make_stack: Callable[..., Stack]) -> None:
    other = make_stack()
    await other.start_foundation()
    assert await all_healthy(started.parts.foundation) is None
    assert await all_healthy(other.parts.foundation) is None
    await other.stop()
    assert await all_healthy(other.parts.foundation) is not None
    assert await all_healthy(started.parts.foundation) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user's directories are their own")
async def test_the_cluster_works_below_a_directory_that_postgres_cannot_enter(
    tmp_path: Path, recorder: Recorder, make_stack: Callable[..., Stack]
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    stack = make_stack("closed/data")
    await stack.supervisor.start_together(stack.parts.foundation.postgres)
    assert sql(stack.parts.foundation.postgres.url, "SELECT current_user") == "openhtc"
    assert closed.stat().st_mode & 0o777 == 0o700


def test_an_interrupted_creation_of_the_cluster_starts_over(tmp_path: Path) -> None:
    part = PostgresPart(
        tmp_path / "postgres", 5, superuser_password="a" * 8, password="b" * 8, log=tmp_path / "log"
    )
    unfinished = tmp_path / "postgres" / "data.new"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("half")
    part.prepare()
    assert (part.cluster / "openhtc.conf").exists()
    assert not unfinished.exists()
    assert not (tmp_path / "postgres" / "superuser-password").exists()


async def test_a_program_that_another_one_imitates_is_not_healthy(make_stack: Callable[..., Stack]) -> None:
    """Something that answers 200 at the registry's port is not our registry."""
    stack = make_stack()
    registry = stack.parts.foundation.registry
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi"

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(greet, LOOPBACK, stack.installation.ports.registry):
        await wait_until(lambda: expect(registry.check(), "instead of asking for a token"))


async def expect(check: "asyncio.Future[str | None]", part_of_answer: str) -> str | None:
    answer = await check
    return None if answer is not None and part_of_answer in answer else f"it says {answer}"
