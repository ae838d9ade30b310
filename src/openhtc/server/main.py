"""Runs a server: worker processes that serve the API, each with the whole set of parts."""

import asyncio
import ctypes
import gc
import os
import resource
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import structlog
from litestar import Litestar

from openhtc.api.app import create_app
from openhtc.domain.errors import OpenhtcError, Unavailable
from openhtc.server.parts import assemble
from openhtc.server.supervisor import supervise
from openhtc.server.turnstile import CONNECTIONS, Turnstile
from openhtc.server.worker import Worker
from openhtc.settings.server import ServerSettings, Serves
from openhtc.storage.clock import LOOK_SECONDS
from openhtc.storage.database import Database
from openhtc.storage.migrations import available, pending
from openhtc.telemetry.logs import configure

_PR_SET_PDEATHSIG = 1
_OTHER_FILES = 256
_YOUNG_OBJECTS = 100_000
"""How many more than before there have to be for the garbage collector to look at them; its own is 700."""

log = structlog.get_logger(__name__)


def run(settings: ServerSettings) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code. Raises OpenhtcError when it cannot start."""
    configure(settings.log_level, settings.log_json)
    asyncio.run(_check(settings))
    log.info(
        "server_starting",
        address=f"{settings.listen_host}:{settings.listen_port}",
        workers=settings.workers,
        serves=settings.serves,
    )
    connections = _connections()
    with _bound_socket(settings) as listener:
        supervise(settings.workers, partial(_serve, settings, os.getpid(), listener, connections))
    return 0


def _bound_socket(settings: ServerSettings) -> socket.socket:
    """The first worker that is ready listens at it."""
    host = settings.listen_host
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, settings.listen_port))
    except OSError as error:
        raise OpenhtcError(
            f"cannot listen at {host}:{settings.listen_port}: {error.strerror or error}"
        ) from error
    return listener


def _connections() -> int:
    """How many a worker holds open: as many as the limit of open files allows, next to what else is open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = (
        CONNECTIONS + _OTHER_FILES
        if hard == resource.RLIM_INFINITY
        else min(CONNECTIONS + _OTHER_FILES, hard)
    )
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max(_OTHER_FILES, wanted - _OTHER_FILES)


async def _check(settings: ServerSettings) -> None:
    """Fail before any worker starts, with one clear line."""
    database = await Database.connect(settings.database_url, 1)
    try:
        if missing := await pending(database):
            raise OpenhtcError(
                f"the database lacks schema version {missing[0]} of {available()[-1][0]}: run `openhtc admin migrate`"
            )
        parts = await assemble(settings, database)
        await parts.registry.aclose()
    finally:
        await database.close()


def _serve(settings: ServerSettings, parent: int, listener: socket.socket, connections: int) -> None:
    """In a process of its own."""
    configure(settings.log_level, settings.log_json)
    _die_with(parent)
    app = create_app(
        [partial(_lifespan, settings)],
        for_users=settings.serves is not Serves.AGENTS,
        for_agents=settings.serves is not Serves.USERS,
    )
    # So agents and the keeper, who do not wait at the door, find a connection to the database.
    turnstile = Turnstile(
        app, at_once=max(1, settings.database_connections * 3 // 4), connections=connections
    )
    Worker(turnstile, listener, connections, partial(_wake, app)).run()


async def _wake(app: Litestar) -> None:
    """Agents that wait for work hear that there is none."""
    await app.state.signal.stop()


def _die_with(parent: int) -> None:
    """A worker must not outlive a supervisor that was killed: it would keep the port."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


@asynccontextmanager
async def _lifespan(settings: ServerSettings, app: Litestar) -> AsyncIterator[None]:
    database = await Database.connect(settings.database_url, settings.database_connections)
    parts = await assemble(settings, database)
    app.state.services = parts.services
    app.state.signal = parts.signal
    timekeeping = asyncio.create_task(_keep_time(database), name="timekeeping")
    if settings.serves is not Serves.USERS:
        parts.signal.start()
        parts.keeper.start()
    _collect_seldom()
    log.info("server_ready")
    try:
        yield
    finally:
        timekeeping.cancel()
        await parts.keeper.stop()
        await parts.signal.stop()
        await parts.registry.aclose()
        await database.close()
        log.info("server_stopped")


def _collect_seldom() -> None:
    """Requests leave next to no cycles behind, but thousands that wait were looked at again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS)


async def _keep_time(database: Database) -> None:
    """Servers whose own clocks differ agree on when a lease ends, because none of them goes by its own."""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        try:
            await database.look_at_clock()
        except Unavailable:
            continue  # said by whoever needs the database; the time goes on meanwhile
        except Exception:  # loop border: a clock that nobody looks at any more drifts away from the others
            log.exception("timekeeping_failed")
