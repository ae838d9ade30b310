"""Numbered SQL files, each applied once, in order, under an advisory lock.

A file that begins with ``-- outside a transaction`` is run statement by statement, and again after an interruption.
Servers go on meanwhile, so no statement waits for a lock for long: everything on the table would wait behind it.
"""

import asyncio
from collections.abc import Sequence
from importlib.resources import files
from itertools import groupby

import asyncpg
import structlog

from openhtc.domain.errors import SettingsError
from openhtc.storage.database import Connection, Database

_LOCK = 0x6F70656E
_LOCK_AGAIN_SECONDS = 0.1
_LOCK_SAID_SECONDS = 5.0
_TABLE_LOCK_SECONDS = 1
_TABLE_LOCK_AGAIN_SECONDS = 3.0
_LEFT_OVER = """
SELECT format('DROP INDEX CONCURRENTLY %s', indexrelid::regclass) FROM pg_index JOIN pg_class c ON c.oid = indexrelid
WHERE NOT indisvalid AND pg_table_is_visible(c.oid) AND position(c.relname IN $1) > 0
"""
"""Unfinished indexes that a file names; one that somebody else is just making is none of our business."""
_OUTSIDE = "-- outside a transaction"
_SECONDS = 24 * 3600.0
"""Tables may be large."""
_TABLE = """
CREATE TABLE IF NOT EXISTS schema_versions (
    version int PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""

log = structlog.get_logger(__name__)


def available() -> list[tuple[int, str]]:
    """Every migration of this release: (number, SQL), in order."""
    folder = files("openhtc.storage").joinpath("migrations")
    found = [(int(f.name.split("_")[0]), f.read_text()) for f in folder.iterdir() if f.name.endswith(".sql")]
    return sorted(found)


async def migrate(database: Database) -> list[int]:
    """Bring the schema to this release; returns the numbers that were applied now."""
    async with database.connection() as connection:
        await _lock(connection)
        try:
            return await _apply_missing(connection)
        finally:
            await connection.execute("SELECT pg_advisory_unlock($1)", _LOCK)


async def pending(database: Database) -> list[int]:
    """The numbers of this release's migrations that the database lacks."""
    async with database.connection() as connection:
        done = await _done(connection)
    return [number for number, _ in available() if number not in done]


async def _lock(connection: Connection) -> None:
    """By asking again: who waits inside a statement keeps the others from making an index concurrently."""
    waited = 0.0
    while True:
        if await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):
            return
        if waited < _LOCK_SAID_SECONDS <= waited + _LOCK_AGAIN_SECONDS:
            log.warning("migration_waits_for_another_one")
        waited += _LOCK_AGAIN_SECONDS
        await asyncio.sleep(_LOCK_AGAIN_SECONDS)


async def _done(connection: Connection) -> set[int]:
    exists = await connection.fetchval("SELECT to_regclass('schema_versions') IS NOT NULL")
    rows = await connection.fetch("SELECT version FROM schema_versions") if exists else []
    return {row["version"] for row in rows}


async def _apply_missing(connection: Connection) -> list[int]:
    """Those between two that are run outside a transaction are applied together or not at all."""
    done = await _done(connection)
    known = available()
    if newer := done - {number for number, _ in known}:
        raise SettingsError(
            f"the database has schema version {max(newer)}, this release knows up to {known[-1][0]}: "
            "start the release that made it, or a newer one"
        )
    missing = [(number, statements) for number, statements in known if number not in done]
    for outside, group in groupby(missing, lambda each: each[1].startswith(_OUTSIDE)):
        if outside:
            await _apply_outside(connection, list(group))
        else:
            await _apply_together(connection, list(group))
    return [number for number, _ in missing]


async def _apply_outside(connection: Connection, group: Sequence[tuple[int, str]]) -> None:
    for number, statements in group:
        for row in await connection.fetch(_LEFT_OVER, statements):
            await connection.execute(row[0], timeout=_SECONDS)
        await _apply(connection, number, _split(statements))


async def _apply_together(connection: Connection, group: Sequence[tuple[int, str]]) -> None:
    while True:
        try:
            async with connection.transaction():
                await connection.execute(_TABLE)
                await connection.execute(f"SET LOCAL lock_timeout = '{_TABLE_LOCK_SECONDS}s'")
                for number, statements in group:
                    await _apply(connection, number, [statements])
            return
        except asyncpg.LockNotAvailableError:
            log.warning("migration_waits_for_a_table", seconds=_TABLE_LOCK_AGAIN_SECONDS)
            await asyncio.sleep(_TABLE_LOCK_AGAIN_SECONDS)


def _split(statements: str) -> list[str]:
    return [statement for statement in statements.split(";\n") if statement.strip()]


async def _apply(connection: Connection, number: int, statements: Sequence[str]) -> None:
    for statement in statements:
        await connection.execute(statement, timeout=_SECONDS)
    await connection.execute("INSERT INTO schema_versions (version) VALUES ($1)", number)
