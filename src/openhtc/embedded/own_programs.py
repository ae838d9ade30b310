"""Our server and our agent as children, started through the command line they have everywhere."""

import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import httpx

import openhtc
from openhtc.embedded.layout import SHARED_WAY, DataLayout
from openhtc.embedded.open_view import closed_to_others, open_place, shown_at
from openhtc.embedded.part import Command, Part, StopStep, child_environment, die_with_parent
from openhtc.embedded.private_files import private_directory
from openhtc.lifecycle.stopping import EXIT_DRAINED

CHECK_SECONDS = 5.0
STATUS_FRESH_SECONDS = 10.0


def openhtc_command(*arguments: str, env: Mapping[str, str], python: Path = Path(sys.executable)) -> Command:
    """Our command line under this very Python, or that of another release, ending with us."""
    args = (*die_with_parent(), str(python), "-m", "openhtc.cli.main", *arguments)
    return Command(args, child_environment(**env), Path("/"))


class ServerPart(Part):
    """``openhtc server``, for users or for agents; healthy when /healthz says so."""

    start_seconds = 60.0
    stop_steps = (StopStep(signal.SIGTERM, 10.0),)

    def __init__(
        self, name: str, settings: Path, port: int, origin: str, *, env: Mapping[str, str], log: Path
    ) -> None:
        self.name = name
        self.address = origin
        self.ports = (port,)
        self.log = log
        self._settings = settings
        self._env = env

    def prepare(self) -> None:
        """Its settings were written with those of the installation."""

    def command(self) -> Command:
        return openhtc_command("server", "--settings", str(self._settings), env=self._env)

    async def check(self) -> str | None:
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=CHECK_SECONDS) as client:
                answer = await client.get(f"{self.address}/healthz")
        except httpx.HTTPError as error:
            return f"no answer: {type(error).__name__}"
        return (
            None
            if answer.status_code == 200
            else f"/healthz answers {answer.status_code}: {answer.text[:200]}"
        )


def agent_data_seen_at(layout: DataLayout) -> Path:
    """Where the agent sees its data directory: the users that jobs are mapped to must be able to pass to it."""
    if os.geteuid() != 0 or not closed_to_others(layout.agent_data):
        return layout.agent_data
    return open_place(layout.root, Path(sys.prefix), Path(openhtc.__file__))


class AgentPart(Part):
    """``openhtc agent``; healthy while it keeps its status file fresh."""

    name = "agent"
    start_seconds = 60.0
    # It ends running jobs in their grace time, hands the rest back and delivers its reports; a second SIGTERM
    # asks it to leave at once.
    stop_steps = (StopStep(signal.SIGTERM, 25.0), StopStep(signal.SIGTERM, 5.0))
    stays_down = frozenset({EXIT_DRAINED})

    def __init__(self, layout: DataLayout, *, env: Mapping[str, str]) -> None:
        self.address = str(layout.agent_status)
        self.log = layout.log(self.name)
        self._settings = layout.agent_settings
        self._status_file = layout.agent_status
        self._directory = layout.agent_data
        self._seen_at = agent_data_seen_at(layout)
        self._env = env

    def prepare(self) -> None:
        # A status of a former run says nothing about this one.
        self._status_file.unlink(missing_ok=True)
        private_directory(self._directory, mode=SHARED_WAY if os.geteuid() == 0 else 0o700)

    def command(self) -> Command:
        command = openhtc_command("agent", "--settings", str(self._settings), env=self._env)
        if self._seen_at == self._directory:
            return command
        return Command((*shown_at(self._directory, self._seen_at), *command.args), command.env, command.cwd)

    async def check(self) -> str | None:
        try:
            age = time.time() - self._status_file.stat().st_mtime
        except OSError:
            return "it has not written its status yet"
        return None if age <= STATUS_FRESH_SECONDS else f"its status is {age:.0f} s old"
