"""Which server is the keeper: the one whose connection holds an advisory lock."""

import contextlib
from collections.abc import AsyncIterator

import asyncpg

from openhtc.domain.errors import Unavailable

LOCK = 0x6B656570
_BROKEN = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, TimeoutError)


class Leadership:
    """Held as long as the connection lives; PostgreSQL gives the lock away when it breaks."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._connection = connection

    async def confirm(self) -> None:
        """Raises Unavailable when leadership may be lost."""
        try:
            await self._connection.fetchval("SELECT 1", timeout=10)
        except _BROKEN as error:
            raise Unavailable(f"the leader's connection broke: {error}") from error


@contextlib.asynccontextmanager
async def lead(url: str) -> AsyncIterator[Leadership | None]:
    """Leadership for the block, or None when another server has it. Raises Unavailable without a database."""
    try:
        connection = await asyncpg.connect(url, timeout=10)
    except _BROKEN as error:
        raise Unavailable(f"the database does not answer: {error}") from error
    try:
        taken = await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK)
        yield Leadership(connection) if taken else None
    finally:
        connection.terminate()
