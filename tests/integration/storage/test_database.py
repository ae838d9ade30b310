"""The pool, the schema and the leader's lock."""

import asyncio

import asyncpg
import pytest

from openhtc.domain.errors import SettingsError, Unavailable
from openhtc.embedded.ports import choose
from openhtc.storage import migrations
from openhtc.storage.database import Database
from openhtc.storage.leader import lead
from openhtc.storage.migrations import available, migrate, pending

from ..world import World


async def test_a_database_is_brought_to_this_release_once(empty_database: str) -> None:
    database = await Database.connect(empty_database, 4)
    numbers = [number for number, _ in available()]
    assert await pending(database) == numbers
    both = await asyncio.gather(migrate(database), migrate(database))
    assert sorted(both) == [[], numbers]
    assert await pending(database) == []
    await database.close()


async def test_a_database_of_a_newer_release_is_refused(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute("INSERT INTO schema_versions (version) VALUES (9999)")
    with pytest.raises(SettingsError, match="9999"):
        await migrate(database)


async def test_a_migration_that_fails_leaves_nothing(empty_database: str) -> None:
    connection = await asyncpg.connect(empty_database)
    await connection.execute("CREATE TABLE jobs (mine int)")
    database = await Database.connect(empty_database, 2)
    with pytest.raises(asyncpg.DuplicateTableError):
        await migrate(database)
    tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    assert [row["tablename"] for row in tables] == ["jobs"]
    await database.close()
    await connection.close()


async def test_an_index_that_was_begun_is_made_again(empty_database: str) -> None:
    """It waits for a transaction that can see the table, and is interrupted there."""
    database = await Database.connect(empty_database, 2)
    await migrate(database)
    reader = await asyncpg.connect(empty_database)
    await reader.execute("DROP INDEX jobs_resting, jobs_resting_of_batch")
    await reader.execute("DELETE FROM schema_versions WHERE version = 8")
    await reader.execute("CREATE TABLE others (n int); INSERT INTO others VALUES (1), (1)")
    with pytest.raises(asyncpg.UniqueViolationError):
        await reader.execute("CREATE UNIQUE INDEX CONCURRENTLY others_n ON others (n)")
    await reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM jobs")
    interrupted = asyncio.create_task(migrate(database))
    async with asyncio.timeout(20):
        while "jobs_resting" not in await _invalid(empty_database):
            await asyncio.sleep(0.05)
    interrupted.cancel()
    await asyncio.gather(interrupted, return_exceptions=True)
    assert await _invalid(empty_database) == ["jobs_resting", "others_n"]
    await reader.execute("ROLLBACK")
    assert await migrate(database) == [8]
    assert await _invalid(empty_database) == ["others_n"], "somebody else's"
    names = await reader.fetch(
        "SELECT indexname FROM pg_indexes WHERE indexname LIKE 'jobs_resting%' ORDER BY 1"
    )
    assert [row[0] for row in names] == ["jobs_resting", "jobs_resting_of_batch"]
    await reader.close()
    await database.close()


async def _invalid(url: str) -> list[str]:
    connection = await asyncpg.connect(url)
    rows = await connection.fetch(
        "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid ORDER BY 1"
    )
    await connection.close()
    return [row[0] for row in rows]


async def test_a_migration_that_waits_for_a_table_keeps_nobody_waiting_for_long(
    empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = available()
    database = await Database.connect(empty_database, 2)
    with monkeypatch.context() as former:
        former.setattr(migrations, "available", lambda: every[:6])
        assert await migrate(database) == [1, 2, 3, 4, 5, 6]
    reader, other = await asyncpg.connect(empty_database), await asyncpg.connect(empty_database)
    await reader.execute("BEGIN; SELECT count(*) FROM jobs")
    migrating = asyncio.create_task(migrate(database))
    async with asyncio.timeout(10):
        while not await other.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            await asyncio.sleep(0.02)
    async with asyncio.timeout(2.5):
        await other.fetchval("SELECT count(*) FROM jobs")
    assert not migrating.done()
    await reader.execute("ROLLBACK")
    assert await migrating == [7, 8]
    await reader.close()
    await other.close()
    await database.close()


async def test_no_database_is_said_clearly() -> None:
    with pytest.raises(Unavailable, match="does not answer"):
        await Database.connect(f"postgresql://me:secret@127.0.0.1:{choose(set())}/x", 1)


async def test_a_connection_that_breaks_is_unavailable_and_the_next_one_works(world: World) -> None:
    with pytest.raises(Unavailable):
        async with world.database.transaction() as connection:
            await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    await world.database.check()


async def test_a_mistake_of_ours_is_not_taken_for_an_outage(world: World) -> None:
    with pytest.raises(asyncpg.PostgresError):
        await world.rows("SELECT nonsense")


async def test_one_of_several_servers_leads(database_url: str) -> None:
    async with lead(database_url) as first:
        assert first is not None
        await first.confirm()
        async with lead(database_url) as second:
            assert second is None
    async with asyncio.timeout(10):
        while True:
            async with lead(database_url) as third:
                if third is not None:
                    break


async def test_a_leader_whose_connection_broke_knows_it(world: World, database_url: str) -> None:
    async with lead(database_url) as leader:
        assert leader is not None
        await world.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        with pytest.raises(Unavailable):
            await leader.confirm()
