"""The nodes that are live now, as pools and as what they offer to a project."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from openhtc.domain.placement import NodeKind
from openhtc.domain.work import Capacity
from openhtc.storage.database import Connection
from openhtc.storage.queries import load

_SQL = load("clusters")


@dataclass(frozen=True, slots=True)
class Pool:
    """Live nodes of one machine type, of one provider in one region."""

    provider: str
    region: str
    machine_type: str
    versions: list[str]
    nodes: int


async def list_pools(connection: Connection, regions: Sequence[str], now: datetime) -> list[Pool]:
    """In order of provider, region and machine type."""
    return [Pool(**row) for row in await connection.fetch(_SQL["list_pools"], now, list(regions))]


async def node_kinds(connection: Connection, project_id: UUID, now: datetime) -> list[NodeKind]:
    """The different live nodes of the project's regions."""
    return [
        NodeKind(
            region=row["region"],
            architecture=row["architecture"],
            capacity=Capacity(row["vcpus"], row["memory_mib"], row["disk_gib"]),
            priorities=frozenset(row["priorities"]),
        )
        for row in await connection.fetch(_SQL["node_kinds"], project_id, now)
    ]
