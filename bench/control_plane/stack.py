"""The real service, started as `openhtc up` starts it, in a directory of its own or where it runs already."""

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openhtc.bench.figures import Say
from openhtc.embedded.child import read_record

COMMAND_SECONDS = 180
PARTS = ("postgres", "s3", "registry", "server", "agent-server", "agent")


class StackFailed(Exception):
    """A command of openhtc did not do what it should, with all that it said."""


@dataclass(frozen=True, slots=True)
class Stack:
    """One installation below ``data``; ``stays``: it was there before the measurement and is there after it."""

    data: Path
    stays: bool = False

    def command(self, *arguments: str) -> str:
        """The standard output of `openhtc ARGUMENTS`. Raises StackFailed."""
        done = subprocess.run(
            [sys.executable, "-m", "openhtc.cli.main", *arguments, "--data", str(self.data)],
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_SECONDS,
        )
        if done.returncode != 0:
            raise StackFailed(f"openhtc {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    def admin(self, *arguments: str) -> dict[str, Any]:
        """What `openhtc admin` printed as JSON."""
        found: dict[str, Any] = json.loads(self.command("admin", *arguments))
        return found

    @property
    def base_url(self) -> str:
        credentials: dict[str, str] = json.loads((self.data / "credentials.json").read_bytes())
        return credentials["base_url"]

    @property
    def origin(self) -> str:
        return self.base_url.removesuffix("/api/v1")

    @property
    def agents_origin(self) -> str:
        """Where agents find their server."""
        return str(tomllib.loads((self.data / "agent.toml").read_text())["server_url"])

    @property
    def database_url(self) -> str:
        settings = tomllib.loads((self.data / "server.toml").read_text())
        return str(settings["database_url"])

    def pid(self, part: str) -> int:
        """The process that was started for a part; others are its children."""
        record = read_record(self.data / "run" / f"{part}.json")
        if record is None:
            raise StackFailed(f"{part} does not run in {self.data}")
        return record.pid


@contextmanager
def running(data: Path | None, say: Say, vcpus: int = 2) -> Iterator[Stack]:
    """The service in ``data``, which runs; with None a new one, which is removed afterwards.

    It has its own agent as every installation of one machine does; that agent waits for jobs of other regions than
    those of the fake agents, so its idle cost is part of the figures and no container is.
    """
    if data is not None:
        yield Stack(data, stays=True)
        return
    # PostgreSQL runs as a user of its own, who has to pass.
    folder = Path(tempfile.mkdtemp(prefix="openhtc-bench-"))
    folder.chmod(0o711)
    stack = Stack(folder / "data")
    say("starting the service")
    try:
        stack.command("up", "--port", str(_free_port()), "--vcpus", str(vcpus), "--detach")
        yield stack
    finally:
        say("stopping the service")
        _remove(stack, folder)


def _remove(stack: Stack, folder: Path) -> None:
    """Stop everything; the directory stays for a look when that does not work."""
    stack.command("down", "--timeout", "60")
    shutil.rmtree(folder)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
