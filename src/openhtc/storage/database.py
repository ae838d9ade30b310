"""Connections and transactions."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias, TypeVar

import asyncpg
import msgspec
import stamina

from openhtc.domain.errors import Unavailable
from openhtc.storage.clock import DatabaseClock

Connection: TypeAlias = (
    "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
)

T = TypeVar("T")

COLLISIONS = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
_AWAY = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    TimeoutError,
)


async def _prepare(connection: "asyncpg.Connection[Any]") -> None:
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        format="text",
        encoder=lambda value: msgspec.json.encode(value).decode(),
        decoder=msgspec.json.decode,
    )


class Database:
    """A pool of connections to one PostgreSQL; ``now`` is its time of day.

    Every method raises Unavailable when the database does not answer; a transaction that collided with
    another one (deadlock) is run again.
    """

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._pool = pool
        self.now = DatabaseClock()

    @classmethod
    async def connect(cls, url: str, connections: int) -> "Database":
        try:
            pool = await asyncpg.create_pool(
                url, min_size=1, max_size=connections, command_timeout=60, init=_prepare
            )
        except _AWAY as error:
            raise Unavailable(f"the database does not answer: {error}") from error
        database = cls(pool)
        try:
            await database.look_at_clock()
        except BaseException:
            await database.close()
            raise
        return database

    async def close(self) -> None:
        try:
            await asyncio.wait_for(self._pool.close(), 5)
        except TimeoutError:
            self._pool.terminate()

    async def check(self) -> None:
        """Raises Unavailable when the database does not answer at once."""
        async with self.connection() as connection:
            await connection.execute("SELECT 1", timeout=5)

    async def look_at_clock(self) -> None:
        """Keep ``now`` true; to be repeated every few seconds by whatever lives longer."""
        async with self.connection() as connection:

            async def ask() -> Any:
                return await connection.fetchval("SELECT clock_timestamp()", timeout=5)

            await self.now.look(ask)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection outside any transaction, for reading."""
        try:
            async with self._pool.acquire(timeout=30) as connection:
                yield connection
        except _AWAY as error:
            raise Unavailable(f"the database does not answer: {error}") from error

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A connection in a transaction that commits when the block ends without an exception."""
        async with self.connection() as connection, connection.transaction():
            yield connection

    async def run(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Run ``work`` in a transaction, again when it collided with another one. It must not act outside."""
        async for attempt in stamina.retry_context(
            on=COLLISIONS, attempts=6, wait_initial=0.02, wait_max=0.5
        ):
            with attempt:
                async with self.transaction() as connection:
                    return await work(connection)
        raise AssertionError("stamina returns or raises")
