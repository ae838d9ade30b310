"""What must hold at every instant, looked at several times a second."""

import asyncio
import threading
from contextlib import suppress

import asyncpg

from faults.place import LIMIT_VCPUS, Place

_PAUSE_SECONDS = 0.25
_AWAY = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, TimeoutError)
_USED = """
SELECT coalesce(sum((runnable + active) * vcpus), 0) FROM batches WHERE project_id::text = $1 AND runnable + active > 0
"""


class Watcher:
    """Reads the database directly, past every proxy, and goes on when it is away."""

    def __init__(self, place: Place) -> None:
        self.samples = 0
        self.most_used = 0
        self._place = place
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="watcher", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(10)

    @property
    def violations(self) -> list[str]:
        if self.most_used <= LIMIT_VCPUS:
            return []
        return [f"{self.most_used} vCPUs were released where {LIMIT_VCPUS} are allowed"]

    async def _run(self) -> None:
        while not self._stop.is_set():
            with suppress(*_AWAY):
                connection = await asyncpg.connect(self._place.database_url, timeout=5, command_timeout=5)
                try:
                    await self._sample(connection)
                finally:
                    connection.terminate()
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _sample(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        while not self._stop.is_set():
            used = await connection.fetchval(_USED, self._place.limited_id)
            self.samples, self.most_used = self.samples + 1, max(self.most_used, int(used))
            await asyncio.sleep(_PAUSE_SECONDS)
