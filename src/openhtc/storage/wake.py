"""Tells this server when work has become runnable in a region, and when held jobs may have room."""

import asyncio
import contextlib
from collections.abc import Iterator, Sequence

import asyncpg
import structlog

_RUNNABLE = "openhtc_runnable"
_ADMISSION = "openhtc_admission"
_RECONNECT_SECONDS = 1.0
_BROKEN = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, TimeoutError)

log = structlog.get_logger(__name__)


class WorkSignal:
    """LISTENs on a connection of its own; a wait that misses a signal while it is down ends by its time-out."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._task: asyncio.Task[None] | None = None
        self.stopped = False
        self.room = asyncio.Event()
        """Set whenever held jobs of some workspace may be released; whoever looks clears it first."""

    def start(self) -> None:
        self._task = asyncio.create_task(self._listen(), name="work-signal")

    async def stop(self) -> None:
        """Ends every wait at once."""
        self.stopped = True
        for events in self._waiting.values():
            for event in events:
                event.set()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    @contextlib.contextmanager
    def watch(self, regions: Sequence[str]) -> Iterator[asyncio.Event]:
        """An event that is set at every signal for one of the regions while the block runs. Clear it before looking."""
        event = asyncio.Event()
        for region in regions:
            self._waiting.setdefault(region, set()).add(event)
        try:
            yield event
        finally:
            for region in regions:
                self._waiting[region].discard(event)

    def _wake(self, _connection: object, _pid: int, _channel: str, region: object) -> None:
        for event in self._waiting.get(str(region), ()):
            event.set()

    def _make_room(self, _connection: object, _pid: int, _channel: str, _workspace: object) -> None:
        self.room.set()

    async def _listen(self) -> None:
        while True:
            try:
                await self._listen_once()
            except _BROKEN as error:
                log.warning("work_signal_lost", error=str(error))
            await asyncio.sleep(_RECONNECT_SECONDS)

    async def _listen_once(self) -> None:
        connection = await asyncpg.connect(self._url, timeout=10)
        closed = asyncio.Event()
        try:
            connection.add_termination_listener(lambda _: closed.set())
            await connection.add_listener(_RUNNABLE, self._wake)
            await connection.add_listener(_ADMISSION, self._make_room)
            for region in list(self._waiting):
                self._wake(None, 0, _RUNNABLE, region)
            self.room.set()
            await closed.wait()
        finally:
            connection.terminate()
