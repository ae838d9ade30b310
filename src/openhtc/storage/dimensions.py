"""The lists of environments that workspaces and projects are held to."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from openhtc.domain.dimensions import Environment, ScalingProfile
from openhtc.domain.enums import Architecture
from openhtc.domain.placement import PRIORITY_NUMBERS
from openhtc.domain.regions import Region
from openhtc.storage.database import Connection
from openhtc.storage.queries import load

_SQL = load("dimensions")
_PRIORITIES = {number: priority for priority, number in PRIORITY_NUMBERS.items()}


@dataclass(frozen=True, slots=True)
class MachineType:
    """What the last agent on such a node said of it."""

    architecture: Architecture
    vcpus: int
    memory_mib: int


@dataclass(frozen=True, slots=True)
class Entry:
    """``machine`` is None when the entry names no machine type, or one that no agent has described yet."""

    environment: Environment
    machine: MachineType | None


async def lock_project(connection: Connection, project_id: UUID) -> None:
    await connection.execute(_SQL["lock_project"], project_id)


async def lock_workspace(connection: Connection, workspace_id: str) -> bool:
    """False when there is no such workspace."""
    return await connection.fetchval(_SQL["lock_workspace"], workspace_id) is not None


async def list_entries(connection: Connection, workspace_id: str, project_id: UUID | None) -> list[Entry]:
    """A project's list in its order; without a project the workspace's own."""
    rows = await connection.fetch(_SQL["list_entries"], workspace_id, project_id)
    return [Entry(_environment(row), _machine(row)) for row in rows]


def _environment(row: Any) -> Environment:
    region, scaling_policy = row["region"], row["scaling_policy"]
    return Environment(
        machine_type=row["machine_type"],
        priority=_PRIORITIES.get(row["priority"]),
        region=None if region is None else Region(region),
        scaling_policy=None if scaling_policy is None else ScalingProfile(scaling_policy),
        hyperthreading=row["hyperthreading"],
    )


def _machine(row: Any) -> MachineType | None:
    if row["vcpus"] is None:
        return None
    return MachineType(Architecture(row["machine_architecture"]), row["vcpus"], row["memory_mib"])


async def replace_entries(
    connection: Connection, workspace_id: str, project_id: UUID | None, entries: Sequence[Environment]
) -> None:
    """The whole list. The caller holds the lock of the project or the workspace."""
    await connection.execute(_SQL["delete_entries"], workspace_id, project_id)
    await connection.execute(
        _SQL["insert_entries"],
        workspace_id,
        project_id,
        [entry.machine_type for entry in entries],
        [None if entry.priority is None else PRIORITY_NUMBERS[entry.priority] for entry in entries],
        [entry.region for entry in entries],
        [entry.scaling_policy for entry in entries],
        [entry.hyperthreading for entry in entries],
    )


async def wake(connection: Connection, workspace_id: str, project_id: UUID | None) -> None:
    """Work may have become allowed: agents that wait look again."""
    if project_id is None:
        await connection.execute(_SQL["wake_workspace"], workspace_id)
    else:
        await connection.execute(_SQL["wake_project"], project_id)
