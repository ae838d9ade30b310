"""Cancelling jobs: their batches at once, they themselves in pages."""

from datetime import datetime
from uuid import UUID

from openhtc.domain.attempts import CANCELLED_REASON
from openhtc.storage.database import Connection
from openhtc.storage.queries import load

_SQL = load("cancellation")


async def mark_batches(
    connection: Connection, task_id: UUID, group: str | None, owner: str | None, now: datetime
) -> None:
    """From the commit on nothing of these batches is released or leased; None for group and owner does not narrow."""
    await connection.execute(_SQL["mark_batches"], task_id, group, owner, now)


async def cancel_page(connection: Connection, task_id: UUID | None, jobs: int) -> int | None:
    """End what waits and mark what agents hold, of the first batches that have about so many jobs; returns how many.

    With None of any task. None is returned while somebody else is at a page.
    """
    if not await connection.fetchval(_SQL["lock_page"]):
        return None
    batches = [row["batch_no"] for row in await connection.fetch(_SQL["marked_batches"], task_id, jobs)]
    if batches:
        await connection.execute(_SQL["lock_leased"], batches)
        await connection.execute(_SQL["cancel_jobs"], batches, CANCELLED_REASON)
        await connection.execute(_SQL["unmark_batches"], batches)
    return len(batches)
