"""The settings without which a figure of a database is none."""

import asyncio

import asyncpg

from bench.control_plane.stack import Stack
from openhtc.domain.errors import OpenhtcError

REQUIRED = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}


class NotDurable(OpenhtcError):
    code = "NOT_DURABLE"


def durability(stack: Stack) -> dict[str, str]:
    """What they are for the service's user. Raises NotDurable when one of them is off."""
    found = asyncio.run(_ask(stack.database_url))
    if found != REQUIRED:
        raise NotDurable(f"the database's settings are {found}: figures count with {REQUIRED} only")
    return found


async def _ask(database_url: str) -> dict[str, str]:
    connection = await asyncpg.connect(database_url)
    try:
        return {name: str(await connection.fetchval(f"SHOW {name}")) for name in REQUIRED}
    finally:
        await connection.close()
