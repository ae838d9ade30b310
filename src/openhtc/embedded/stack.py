"""One installation as a whole: opened, started in order, stopped in order."""

import os
from dataclasses import dataclass
from types import TracebackType

from openhtc.domain.errors import SettingsError
from openhtc.embedded.child import read_record, write_record
from openhtc.embedded.events import Event, Happening, Listener
from openhtc.embedded.foundation import Foundation, make_foundation
from openhtc.embedded.identities import Credentials, ensure_identities
from openhtc.embedded.installation import Installation, open_installation
from openhtc.embedded.layout import UPGRADED, DataLayout, check_version, open_layout, write_version
from openhtc.embedded.options import UpOptions
from openhtc.embedded.own_programs import AgentPart, ServerPart
from openhtc.embedded.part import Part
from openhtc.embedded.ports import require_free
from openhtc.embedded.programs import RUNTIME_PROGRAMS, find_postgres, find_program, find_weed
from openhtc.embedded.settings_files import (
    agent_server_values,
    agent_values,
    agents_origin,
    api_origin,
    overrides,
    server_values,
    write_settings,
)
from openhtc.embedded.supervisor import Supervisor
from openhtc.lifecycle.identity import process_identity
from openhtc.lifecycle.locks import FileLock

SUPERVISOR = "supervisor"


@dataclass(frozen=True, slots=True)
class StackParts:
    """Every part of an installation, as objects that can be started or asked for their health."""

    foundation: Foundation
    server: ServerPart
    agent_server: ServerPart
    agent: AgentPart

    @property
    def all(self) -> tuple[Part, ...]:
        return (*self.foundation.parts, self.server, self.agent_server, self.agent)


def make_parts(layout: DataLayout, installation: Installation, options: UpOptions) -> StackParts:
    """The parts as objects; nothing is started or written."""
    foundation = make_foundation(layout, installation)
    server = ServerPart(
        "server",
        layout.server_settings,
        installation.ports.api,
        api_origin(installation),
        env=overrides(server_values(installation, foundation)),
        log=layout.log("server"),
    )
    agent_server = ServerPart(
        "agent-server",
        layout.agent_server_settings,
        installation.ports.agents,
        agents_origin(installation),
        env=overrides(agent_server_values(installation, foundation)),
        log=layout.log("agent-server"),
    )
    agent = AgentPart(layout, env=overrides(agent_values(layout, installation, options)))
    return StackParts(foundation, server, agent_server, agent)


class Stack:
    """The service on one machine; ``async with`` starts and stops all of it, in the main thread.

    Raises SettingsError for everything that the person who starts it can put right.
    """

    def __init__(self, options: UpOptions, *listeners: Listener) -> None:
        self._options = options
        self.listeners = list(listeners)
        self.layout = open_layout(options.data)
        self._lock = FileLock(self.layout.lock)
        if not self._lock.acquire():
            raise SettingsError(_already_running(self.layout))
        self.installation = open_installation(self.layout, options.port)
        if check_version(self.layout) in UPGRADED:
            write_version(self.layout)
        self.parts = make_parts(self.layout, self.installation, options)
        self.supervisor = Supervisor(self.layout.run, self.tell)

    def tell(self, event: Event) -> None:
        """Pass an event on to every listener."""
        for listener in self.listeners:
            listener(event)

    async def start(self) -> Credentials:
        """Return when every part is ready."""
        require_programs(self._options)
        self._record_supervisor()
        self.supervisor.end_leftovers(self.parts.all)
        for part in self.parts.all:
            require_free(part.name, part.ports)
        await self.start_foundation()
        foundation = self.parts.foundation
        write_settings(self.layout, self.installation, foundation, self._options)
        credentials = await ensure_identities(
            self.layout,
            origin=self.parts.server.address,
            registry=foundation.registry.host,
            env=overrides(server_values(self.installation, foundation)),
        )
        await self.supervisor.start_together(self.parts.server, self.parts.agent_server)
        await self.supervisor.start_together(self.parts.agent)
        self.tell(Event(happening=Happening.ALL_READY))
        return credentials

    async def start_foundation(self) -> None:
        """PostgreSQL, S3 and the registry, without our own programs."""
        await self.supervisor.start_together(*self.parts.foundation.parts)

    async def stop(self) -> None:
        """End everything that runs, the agent first, PostgreSQL last; free the data directory."""
        await self.supervisor.stop()
        (self.layout.run / f"{SUPERVISOR}.json").unlink(missing_ok=True)
        self._lock.release()

    async def __aenter__(self) -> "Stack":
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def _record_supervisor(self) -> None:
        own = process_identity(os.getpid())
        assert own is not None
        write_record(self.layout.run / f"{SUPERVISOR}.json", own, self.parts.server.address)


def require_programs(options: UpOptions) -> None:
    """Raises SettingsError naming the first program that is missing and its package.

    The agent does without others (slirp4netns, mkfs.ext4) and says what that means in ``limits_missing``.
    """
    find_postgres()
    find_weed()
    for name in ("setpriv", "unshare", "docker-registry", *RUNTIME_PROGRAMS[options.runtime]):
        find_program(name)


def _already_running(layout: DataLayout) -> str:
    record = read_record(layout.run / f"{SUPERVISOR}.json")
    by = f" by process {record.pid}" if record is not None else ""
    return f"the data directory {layout.root} is in use{by}: stop it with openhtc down --data {layout.root}"
