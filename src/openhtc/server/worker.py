"""One process's HTTP server: uvicorn's, with a bound to its connections and an eye on slow clients."""

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import structlog
from uvicorn import Config, Server

from openhtc.server.connection import IDLE_SECONDS, Connection
from openhtc.server.turnstile import Turnstile

STOP_SECONDS = 10
"""How long requests that are being served may take when the server stops."""
_BACKLOG = 4096
_AT_ONCE = 256
_LOOK_TICKS = 20
"""So many ticks of uvicorn, a tenth of a second each, between two looks at all connections."""

log = structlog.get_logger(__name__)


class Worker(Server):
    """Serves what comes in at a socket that is shared with other workers."""

    def __init__(
        self,
        turnstile: Turnstile,
        listener: socket.socket,
        connections: int,
        on_stop: Callable[[], Awaitable[None]],
    ) -> None:
        """``connections``: with so many open no more are taken; others wait in the socket's backlog.
        ``on_stop``: makes an end of requests that only wait for something to happen."""
        super().__init__(
            Config(
                turnstile,
                interface="asgi3",
                loop="uvloop",
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                reset_contextvars=True,
                timeout_keep_alive=IDLE_SECONDS,
                timeout_graceful_shutdown=STOP_SECONDS,
            )
        )
        # Each request that cannot be read is worth a line to it.
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
        self._turnstile = turnstile
        self._listener = listener
        self._connections = connections
        self._on_stop = on_stop
        self._is_open = False
        self._taking: set[asyncio.Task[object]] = set()
        self.servers: list[asyncio.Server] = []  # uvicorn's name for what it would have opened

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The supervisor tells when to stop; what a terminal tells all at once is its business."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self.handle_exit)
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            sys.exit(1)
        self._listener.setblocking(False)
        self._listener.listen(_BACKLOG)
        self._open()
        self.started = True

    def _open(self) -> None:
        self._is_open = True
        asyncio.get_running_loop().add_reader(self._listener, self._take)

    def _close(self) -> None:
        self._is_open = False
        asyncio.get_running_loop().remove_reader(self._listener)

    def _take(self) -> None:
        """Many at once: uvloop's own server takes one in each of its rounds, in which a busy loop does a lot else."""
        connections = self.server_state.connections
        loop = asyncio.get_running_loop()
        for _ in range(min(_AT_ONCE, self._connections - len(connections) - len(self._taking))):
            try:
                taken, _ = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError:  # no more files can be open; a tick later there may be
                self._close()
                return
            task = loop.create_task(loop.connect_accepted_socket(self._connection, taken))
            self._taking.add(task)
            task.add_done_callback(self._taken)
        if len(connections) + len(self._taking) >= self._connections:
            self._close()

    def _connection(self) -> Connection:
        return Connection(self.config, self.server_state, self.lifespan.state, self._turnstile)

    def _taken(self, task: "asyncio.Task[object]") -> None:
        self._taking.discard(task)
        if (
            not task.cancelled()
            and (error := task.exception()) is not None
            and not isinstance(error, OSError)
        ):
            raise error

    async def on_tick(self, counter: int) -> bool:
        connections = self.server_state.connections
        if not self._is_open and len(connections) < self._connections:
            self._open()
        if counter % _LOOK_TICKS == 0:
            now = asyncio.get_running_loop().time()
            for connection in list(connections):
                connection.look(now)  # type: ignore[union-attr]
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._close()
        self._turnstile.close()
        await asyncio.gather(*self._taking, return_exceptions=True)
        try:
            await asyncio.wait_for(self._on_stop(), STOP_SECONDS / 2)
        except Exception:  # loop border: what is served is ended in order all the same
            log.exception("waiting_not_ended")
        await super().shutdown(sockets)
