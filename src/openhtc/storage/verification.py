"""Finds rows that break an invariant of the service."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from openhtc.storage.database import Connection
from openhtc.storage.queries import load

_SQL = load("verification")


@dataclass(frozen=True, slots=True)
class Broken:
    """Something that is not as it must be: where, and what."""

    place: str
    problem: str


async def take_snapshot(connection: Connection) -> None:
    """All checks in this transaction see the same moment, and may take as long as a large store needs."""
    await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
    await connection.execute("SET LOCAL statement_timeout = 0")
    await connection.execute("SET LOCAL work_mem = '64MB'")


async def find_broken(
    connection: Connection, check: str, task_id: UUID | None, limit: int, bound: datetime | int | None
) -> tuple[list[Broken], int]:
    """The first rows that a statement finds, and how many there are. ``bound`` is what some statements compare with."""
    bounds = () if bound is None else (bound,)
    rows = await connection.fetch(_SQL[check], task_id, limit, *bounds, timeout=3600)
    return [Broken(row["place"], row["problem"]) for row in rows], rows[0]["total"] if rows else 0
