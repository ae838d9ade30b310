"""One PostgreSQL for the session; each test gets a database of its own, cloned from a migrated template."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from openhtc.embedded.postgres import PostgresPart, new_postgres
from openhtc.embedded.supervisor import running
from openhtc.services.signing import SigningKeys
from openhtc.storage.database import Database
from openhtc.storage.migrations import migrate

from .world import SECRET_KEY, Clock

TEMPLATE = "openhtc_template"
FAST = {"fsync": "off", "full_page_writes": "off", "autovacuum": "off", "max_connections": "200"}
"""The cluster dies with the test session: nothing needs to survive a crash of the machine."""


def url_of(url: str, database: str) -> str:
    """The same server and role, another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))


async def execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture(scope="session")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PostgresPart]:
    directory = tmp_path_factory.mktemp("cluster")
    part = new_postgres(directory, FAST)
    async with running(directory, part):
        yield part


@pytest.fixture(scope="session")
async def template(cluster: PostgresPart) -> str:
    """The name of a database with the schema and one signing key, which costs time to make."""
    await execute(cluster.url, f"CREATE DATABASE {TEMPLATE}")
    database = await Database.connect(url_of(cluster.url, TEMPLATE), 2)
    await migrate(database)
    await SigningKeys(database, SECRET_KEY).ensure()
    await database.close()
    return TEMPLATE


@pytest.fixture
async def empty_database(cluster: PostgresPart) -> AsyncIterator[str]:
    """The URL of a database without any table."""
    name = f"empty_{secrets.token_hex(6)}"
    await execute(cluster.url, f"CREATE DATABASE {name}")
    yield url_of(cluster.url, name)
    await execute(cluster.url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def database_url(cluster: PostgresPart, template: str) -> AsyncIterator[str]:
    name = f"test_{secrets.token_hex(6)}"
    # Twice as fast as the other strategy while nothing is synced.
    await execute(cluster.url, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
    yield url_of(cluster.url, name)
    await execute(cluster.url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    found = await Database.connect(database_url, 16)
    yield found
    await found.close()


@pytest.fixture
async def connect(database_url: str) -> AsyncIterator[Callable[[], Awaitable[asyncpg.Connection]]]:
    """Plain connections beside the pool, with which a test holds locks."""
    opened: list[asyncpg.Connection] = []

    async def make() -> asyncpg.Connection:
        opened.append(await asyncpg.connect(database_url))
        return opened[-1]

    yield make
    for connection in opened:
        connection.terminate()


@pytest.fixture
def clock() -> Clock:
    return Clock()
