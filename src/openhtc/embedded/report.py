"""What `openhtc status` and `openhtc down` know of an installation from outside its supervisor."""

import asyncio
import signal

import msgspec

from openhtc.embedded.child import read_record
from openhtc.embedded.installation import read_installation
from openhtc.embedded.layout import DataLayout, check_version
from openhtc.embedded.options import UpOptions
from openhtc.embedded.part import Part
from openhtc.embedded.stack import SUPERVISOR, make_parts
from openhtc.lifecycle.identity import ProcessIdentity


class PartReport(msgspec.Struct, frozen=True):
    """One part as it is now; ``pid`` None when it does not run, ``problem`` empty when it is healthy."""

    name: str
    pid: int | None
    healthy: bool
    address: str
    problem: str


class Report(msgspec.Struct, frozen=True):
    """All parts, and what cannot be enforced on this machine."""

    parts: list[PartReport]
    limits_missing: list[str]

    @property
    def healthy(self) -> bool:
        return all(part.healthy for part in self.parts)


async def inspect(layout: DataLayout) -> Report:
    """Ask every part. Raises SettingsError when the directory holds no installation of this format."""
    check_version(layout)
    parts = make_parts(layout, read_installation(layout), UpOptions(data=layout.root))
    supervisor = running_supervisor(layout)
    own = PartReport(
        name=SUPERVISOR,
        pid=supervisor.pid if supervisor is not None else None,
        healthy=supervisor is not None,
        address=parts.server.address,
        problem="" if supervisor is not None else "not running",
    )
    asked = await asyncio.gather(*(_ask(layout, part) for part in parts.all))
    agent_runs = any(part.name == parts.agent.name and part.pid is not None for part in asked)
    return Report(parts=[own, *asked], limits_missing=limits_missing(layout) if agent_runs else [])


class AgentStatus(msgspec.Struct):
    """What we read of the file that the agent writes once a second."""

    limits_missing: list[str] = []


def limits_missing(layout: DataLayout) -> list[str]:
    """What the agent cannot enforce on this machine, in its own words; empty before it has said anything."""
    try:
        return msgspec.json.decode(layout.agent_status.read_bytes(), type=AgentStatus).limits_missing
    except (OSError, msgspec.DecodeError):
        return []


def running_supervisor(layout: DataLayout) -> ProcessIdentity | None:
    """The process of `openhtc up`, None when there is none."""
    record = read_record(layout.run / f"{SUPERVISOR}.json")
    return record.identity if record is not None and record.identity.is_alive() else None


def stop_installation(layout: DataLayout, timeout: float) -> bool | None:
    """Ask the supervisor to stop and wait for its end.

    True when it has stopped, False when it still runs after ``timeout`` seconds, None when nothing ran.
    """
    check_version(layout)
    supervisor = running_supervisor(layout)
    if supervisor is None or not supervisor.signal(signal.SIGTERM):
        return None
    return supervisor.wait_gone(timeout)


async def _ask(layout: DataLayout, part: Part) -> PartReport:
    record = read_record(layout.run / f"{part.name}.json")
    alive = record is not None and record.identity.is_alive()
    problem = await part.check() if alive else "not running"
    return PartReport(
        name=part.name,
        pid=record.pid if record is not None and alive else None,
        healthy=problem is None,
        address=part.address,
        problem=problem or "",
    )
