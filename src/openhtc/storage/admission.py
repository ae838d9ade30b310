"""Releasing held jobs under limits."""

from collections.abc import Sequence
from datetime import datetime

from openhtc.domain.admission import Held
from openhtc.storage.database import Connection
from openhtc.storage.queries import load

_SQL = load("admission")


async def lock(connection: Connection, workspace_id: str) -> None:
    """Until the transaction ends nobody else releases jobs of the workspace or changes its limits."""
    await connection.execute(_SQL["lock_admission"], workspace_id)


async def workspaces_with_held(connection: Connection) -> list[str]:
    return [row["workspace_id"] for row in await connection.fetch(_SQL["workspaces_with_held"])]


async def held_batches(connection: Connection, workspace_id: str, of_each_project: int) -> list[Held]:
    """Batches that could be released, the first few of every project."""
    rows = await connection.fetch(_SQL["held_batches"], workspace_id, of_each_project)
    return [
        Held(row["batch_no"], str(row["project_id"]), row["priority"], row["held"], row["vcpus"])
        for row in rows
    ]


async def released_vcpus(connection: Connection, workspace_id: str) -> dict[str, int]:
    """vCPUs of released, unfinished jobs by project."""
    rows = await connection.fetch(_SQL["released_vcpus"], workspace_id)
    return {str(row["project_id"]): row["vcpus"] for row in rows}


async def smallest_limits(connection: Connection, workspace_id: str) -> dict[str | None, int]:
    """The limit that holds by project; that of the workspace as None."""
    rows = await connection.fetch(_SQL["smallest_limits"], workspace_id)
    return {None if row["project_id"] is None else str(row["project_id"]): row["vcpus"] for row in rows}


async def release_jobs(connection: Connection, shares: Sequence[tuple[int, int]], now: datetime) -> int:
    """``shares`` are (batch, number of jobs); returns how many became RUNNABLE."""
    done = await connection.execute(
        _SQL["release_jobs"], [batch for batch, _ in shares], [n for _, n in shares], now
    )
    return int(done.rpartition(" ")[2])
