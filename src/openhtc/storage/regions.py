"""Regions that the operator mapped, and which of them workspaces and projects use."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from openhtc.storage.database import Connection
from openhtc.storage.queries import load

_SQL = load("regions")


@dataclass(frozen=True, slots=True)
class MappedRegion:
    """A region with nodes of a provider. Batches are spread by ``weight``."""

    name: str
    provider: str
    enabled: bool
    weight: float
    architectures: list[str]
    updated_by: str
    updated_at: datetime


async def set_region(connection: Connection, region: MappedRegion) -> None:
    """Map a region, or change how it is mapped."""
    await connection.execute(
        _SQL["set_region"],
        region.name,
        region.provider,
        region.enabled,
        region.weight,
        region.architectures,
        region.updated_by,
        region.updated_at,
    )


async def list_regions(connection: Connection) -> list[MappedRegion]:
    """In the order in which they were mapped."""
    return [MappedRegion(**row) for row in await connection.fetch(_SQL["list_regions"])]


async def find_region(connection: Connection, name: str) -> MappedRegion | None:
    row = await connection.fetchrow(_SQL["find_region"], name)
    return None if row is None else MappedRegion(**row)


async def region_weights(connection: Connection, names: Sequence[str]) -> dict[str, float]:
    """Weights of those of the regions that are enabled."""
    return {row["name"]: row["weight"] for row in await connection.fetch(_SQL["region_weights"], list(names))}


async def set_workspace_regions(connection: Connection, workspace_id: str, names: Sequence[str]) -> bool:
    """False when there is no such workspace."""
    return await connection.fetchval(_SQL["set_workspace_regions"], workspace_id, list(names)) is not None


async def lock_project_regions(connection: Connection, project_id: UUID) -> list[str]:
    """The project's regions, which nobody else changes until the transaction ends."""
    found: list[str] = await connection.fetchval(_SQL["lock_project"], project_id)
    return found


async def set_project_regions(connection: Connection, project_id: UUID, names: Sequence[str]) -> None:
    await connection.execute(_SQL["set_project_regions"], project_id, list(names))
