"""What a database needs that was set back to an earlier moment, before servers and agents meet it."""

from datetime import datetime

from openhtc.storage.database import Connection
from openhtc.storage.queries import load

_SQL = load("restoring")


async def skip_numbers(connection: Connection) -> None:
    """No lease, agent or batch gets a number again that was given after that moment."""
    await connection.execute(_SQL["skip_numbers"])


async def free_storage_again(connection: Connection, now: datetime) -> None:
    """Of all deleted tasks."""
    await connection.execute(_SQL["free_storage_again"], now)


async def give_up_agents(connection: Connection, now: datetime) -> None:
    """Agents of that moment have to open a new session, and their jobs start again."""
    await connection.execute(_SQL["give_up_agents"], now)
