"""Who changed what that decides over others. An entry is written in the transaction of its change."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from openhtc.storage.database import Connection
from openhtc.storage.queries import load

_SQL = load("audit")


@dataclass(frozen=True, slots=True)
class Entry:
    id: int
    at: datetime
    actor: str
    action: str
    subject: str
    details: dict[str, Any]


async def record(
    connection: Connection,
    now: datetime,
    actor: str,
    action: str,
    subject: str,
    details: Mapping[str, object],
) -> None:
    """``actor``: a user's id or operator:<login>; ``action``: like limit.set; ``subject``: like project:<id>.

    ``details`` are plain JSON values and never hold a secret.
    """
    await connection.execute(_SQL["insert_entry"], now, actor, action, subject, dict(details))


async def list_entries(
    connection: Connection, before: int, actor: str | None, subject: str | None, limit: int
) -> list[Entry]:
    """Newest first; ``before`` is the id of an entry, or a number above all."""
    rows = await connection.fetch(_SQL["list_entries"], before, actor, subject, limit)
    return [Entry(**row) for row in rows]
