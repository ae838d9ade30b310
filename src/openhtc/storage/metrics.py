"""What metrics are made of: totals that were counted when they moved, and a few looks along indexes."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import add
from uuid import UUID

from openhtc.storage.database import Connection
from openhtc.storage.leader import LOCK
from openhtc.storage.queries import load

_SQL = load("metrics")

Place = tuple[UUID, str]
"""(project, region)"""


@dataclass(frozen=True, slots=True)
class MeasuredProject:
    """``smallest_limit`` is that of project and workspace together; None without any."""

    id: UUID
    name: str
    workspace_id: str
    smallest_limit: int | None


@dataclass(frozen=True, slots=True)
class SetLimit:
    """``project_id`` and ``modifier_role`` are None for the limit of a whole workspace."""

    workspace_id: str
    project_id: UUID | None
    modifier_role: str | None
    vcpus: int


@dataclass(frozen=True, slots=True)
class LiveNodes:
    provider: str
    region: str
    nodes: int
    vcpus: int


@dataclass(frozen=True, slots=True)
class Installation:
    """``nodes`` live now; ``expired`` were given up since the installation was made."""

    nodes: int
    expired: int
    schema_version: int
    database_bytes: int
    keeper_since: datetime | None
    """When the server that leads took the lead; None while none does."""


async def list_projects(connection: Connection, workspace_id: str | None) -> list[MeasuredProject]:
    """Of one workspace, or of all, in the order in which they were made."""
    return [MeasuredProject(**row) for row in await connection.fetch(_SQL["list_projects"], workspace_id)]


async def list_limits(connection: Connection, workspace_id: str | None) -> list[SetLimit]:
    return [SetLimit(**row) for row in await connection.fetch(_SQL["list_limits"], workspace_id)]


async def sum_counters(connection: Connection, projects: Sequence[UUID]) -> dict[Place, list[int]]:
    """The totals of the projects in every region that has ever had a job of theirs; see domain.metrics."""
    totals: dict[Place, list[int]] = {}
    for project_id, region, numbers in await connection.fetch(_SQL["list_counters"], list(projects)):
        place = (project_id, region)
        totals[place] = list(map(add, totals[place], numbers)) if place in totals else numbers
    return totals


async def waiting_since(connection: Connection, places: Collection[Place]) -> dict[Place, datetime]:
    """Since when the longest waiting RUNNABLE jobs have waited; nothing for a place without one."""
    projects, regions = [project for project, _ in places], [region for _, region in places]
    rows = await connection.fetch(_SQL["waiting_since"], projects, regions)
    return {(row["project_id"], row["region"]): row["since"] for row in rows}


async def held_since(connection: Connection, projects: Sequence[MeasuredProject]) -> dict[UUID, datetime]:
    """When the oldest jobs that are held were submitted; nothing for a project without one."""
    ids, workspaces = [p.id for p in projects], [p.workspace_id for p in projects]
    rows = await connection.fetch(_SQL["held_since"], ids, workspaces)
    return {row["project_id"]: row["since"] for row in rows}


async def live_nodes(connection: Connection, now: datetime) -> list[LiveNodes]:
    """By provider and region; a node of several regions is in each of them."""
    return [LiveNodes(**row) for row in await connection.fetch(_SQL["live_nodes"], now)]


async def installation(connection: Connection, now: datetime) -> Installation:
    row = await connection.fetchrow(_SQL["installation"], now, LOCK)
    assert row is not None, "a SELECT without FROM has one row"
    return Installation(**row)
