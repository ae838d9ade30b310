"""Makes a database that was set back to an earlier moment fit to be used again."""

from openhtc.services.clock import Clock
from openhtc.storage import restoring
from openhtc.storage.database import Connection, Database


async def make_usable(database: Database, clock: Clock) -> None:
    """To be run once, before any server. Programs outside may have worked under numbers that the database has
    forgotten: none of them is given again, and no agent of that time goes on.
    """

    async def work(connection: Connection) -> None:
        await restoring.skip_numbers(connection)
        now = clock()
        await restoring.give_up_agents(connection, now)
        await restoring.free_storage_again(connection, now)

    await database.run(work)
