"""Numbered SQL files, each applied once, in order, under an advisory lock."""

from importlib.resources import files

from openhtc.domain.errors import SettingsError
from openhtc.storage.database import Connection, Database

_LOCK = 0x6F70656E
_TABLE = """
CREATE TABLE IF NOT EXISTS schema_versions (
    version int PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


def available() -> list[tuple[int, str]]:
    """Every migration of this release: (number, SQL), in order."""
    folder = files("openhtc.storage").joinpath("migrations")
    found = [(int(f.name.split("_")[0]), f.read_text()) for f in folder.iterdir() if f.name.endswith(".sql")]
    return sorted(found)


async def migrate(database: Database) -> list[int]:
    """Bring the schema to this release; returns the numbers that were applied now."""
    async with database.transaction() as connection:
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        return await _apply_missing(connection)


async def pending(database: Database) -> list[int]:
    """The numbers of this release's migrations that the database lacks."""
    async with database.connection() as connection:
        exists = await connection.fetchval("SELECT to_regclass('schema_versions') IS NOT NULL")
        rows = await connection.fetch("SELECT version FROM schema_versions") if exists else []
    done = {row["version"] for row in rows}
    return [number for number, _ in available() if number not in done]


async def _apply_missing(connection: Connection) -> list[int]:
    await connection.execute(_TABLE)
    done = {row["version"] for row in await connection.fetch("SELECT version FROM schema_versions")}
    known = available()
    if newer := done - {number for number, _ in known}:
        raise SettingsError(
            f"the database has schema version {max(newer)}, this release knows up to {known[-1][0]}: "
            "start the release that made it, or a newer one"
        )
    applied = []
    for number, statements in known:
        if number not in done:
            await connection.execute(statements)
            await connection.execute("INSERT INTO schema_versions (version) VALUES ($1)", number)
            applied.append(number)
    return applied
