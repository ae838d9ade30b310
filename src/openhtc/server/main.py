"""Runs a server: worker processes that serve the API, each with the whole set of parts."""

import asyncio
import ctypes
import gc
import os
import resource
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import structlog
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server import Server
from litestar import Litestar

from openhtc.api.app import create_app
from openhtc.domain.errors import OpenhtcError, Unavailable
from openhtc.server.parts import assemble
from openhtc.server.turnstile import CONNECTIONS, Turnstile
from openhtc.settings.server import ServerSettings, Serves
from openhtc.storage.database import Database
from openhtc.storage.migrations import available, pending
from openhtc.telemetry.logs import configure

_PR_SET_PDEATHSIG = 1
_STOP_SECONDS = 10
_LOOK_AT_CLOCK_SECONDS = 5.0
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
    server = Server(
        "openhtc",
        address=settings.listen_host,
        port=settings.listen_port,
        interface=Interfaces.ASGI,
        http=HTTPModes.http1,
        workers=settings.workers,
        websockets=False,
        log_enabled=False,
        backlog=4096,
        backpressure=_connections(),
        http1_settings=HTTP1Settings(header_read_timeout=15_000),
        workers_kill_timeout=_STOP_SECONDS,
        respawn_failed_workers=True,
    )
    server.serve(target_loader=partial(_worker, settings, os.getpid()), wrap_loader=False)
    return 0


def _connections() -> int:
    """How many connections a worker holds open. Idle ones count, so the default of 1,024 would soon be used up."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS + 1024 if hard == resource.RLIM_INFINITY else min(CONNECTIONS + 1024, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max(256, min(CONNECTIONS, wanted - 1024))


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


def _worker(settings: ServerSettings, parent: int) -> Turnstile:
    configure(settings.log_level, settings.log_json)
    _die_with(parent)
    app = create_app(
        [partial(_lifespan, settings)],
        for_users=settings.serves is not Serves.AGENTS,
        for_agents=settings.serves is not Serves.USERS,
    )
    # So agents and the keeper, who do not wait at the door, find a connection to the database.
    return Turnstile(app, at_once=max(1, settings.database_connections * 3 // 4), connections=_connections())


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
        await asyncio.sleep(_LOOK_AT_CLOCK_SECONDS)
        try:
            await database.look_at_clock()
        except Unavailable:
            continue  # said by whoever needs the database; the time goes on meanwhile
        except Exception:  # loop border: a clock that nobody looks at any more drifts away from the others
            log.exception("timekeeping_failed")
