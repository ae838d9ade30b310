"""Lets users' requests in a few at a time, so that a flood of them slows nobody but those who wait in it.

The server's one loop serves everybody: with thousands of requests in it at once, each of them is slow, and so are the
agents, whose reports end jobs. Users' requests wait at the door instead, in the order in which they came; agents do
not. Who waits too long, or finds too many before them, is refused with 503 and told when to come again. Who has gone
away meanwhile is not served any more, and who sends slowly has no place while nothing comes.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import structlog

from openhtc.api.app import API_PREFIX
from openhtc.lifecycle.turns import CURRENT

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Any, Any, Any], Awaitable[None]]

AT_ONCE = 32
"""Requests of users that are being served: some more than there are database connections."""
MAX_WAITING = 4000
PATIENCE_SECONDS = 60.0
TOKEN_PATIENCE_SECONDS = 240.0
"""Of requests whose clients take any answer but 200 and 401 for nonsense, but wait for five minutes."""
RETRY_AFTER_SECONDS = 5

_PASSING = ("/agent/", "/healthz", "/metrics", "/.well-known/")
_PATIENT = frozenset(
    prefix + path
    for prefix in ("", API_PREFIX)
    for path in ("/auth/token", "/auth/whoami", "/registry/token")
)
MAX_PATIENT = 4000
_HELD_BODY = 64 * 1024
"""A larger body is not read while its request waits: nobody notices then when its client goes away."""
_LOG_SECONDS = 10.0

log = structlog.get_logger(__name__)


class _Gone(Exception):
    """The client did not wait for its turn."""


class Turnstile:
    """An ASGI application around another one."""

    def __init__(
        self,
        app: App,
        *,
        at_once: int = AT_ONCE,
        max_waiting: int = MAX_WAITING,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._app = app
        self._places = _Places(at_once)
        self._max_waiting = max_waiting
        self._patience = patience_seconds
        self._patient = 0
        self._refused = 0
        self._told_at = 0.0

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(_PASSING):
            await self._app(scope, receive, send)
            return
        visit = _Visit(scope, receive, self._places)
        CURRENT.set(visit)
        try:
            if await self._enter(scope["path"], visit):
                await self._app(scope, visit.receive, send)
                return
        except _Gone:
            return
        finally:
            visit.leave()
        self._tell()
        await _refuse(send)

    async def _enter(self, path: str, visit: "_Visit") -> bool:
        """Take a place, at once or in turn; False when there is none in time. Raises _Gone."""
        if path in _PATIENT:
            if self._patient >= MAX_PATIENT:
                return False
            self._patient += 1
            try:
                return await _within(TOKEN_PATIENCE_SECONDS, visit)
            finally:
                self._patient -= 1
        if self._places.waiting - self._patient >= self._max_waiting:
            return False
        return await _within(self._patience, visit)

    def _tell(self) -> None:
        """Now and then, not for each."""
        self._refused += 1
        if (now := time.monotonic()) - self._told_at > _LOG_SECONDS:
            self._told_at = now
            log.warning("overloaded", waiting=self._places.waiting, refused=self._refused)


async def _within(seconds: float, visit: "_Visit") -> bool:
    try:
        async with asyncio.timeout(seconds):
            await visit.enter()
    except TimeoutError:
        return visit.inside
    return True


class _Places:
    """So many, given in turn."""

    def __init__(self, free: int) -> None:
        self._free = free
        self._turns: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        return len(self._turns)

    def take(self, *, first: bool = False) -> "asyncio.Future[None]":
        """Done when the place is there. ``first``: before all who wait."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._free > 0:
            self._free -= 1
            turn.set_result(None)
        elif first:
            self._turns.appendleft(turn)
        else:
            self._turns.append(turn)
        return turn

    def give_back(self, turn: "asyncio.Future[None]") -> None:
        """The place, or the wish for one."""
        if not turn.done():
            self._turns.remove(turn)
            turn.cancel()
        elif self._turns:
            self._turns.popleft().set_result(None)
        else:
            self._free += 1


class _Visit:
    """One request. While it waits, a short body is taken in, to hear of it when its client goes."""

    def __init__(self, scope: dict[str, Any], receive: Receive, places: _Places) -> None:
        self._receive = receive
        self._places = places
        self._turn: asyncio.Future[None] | None = None
        self._early: deque[Message] = deque()
        self._next: asyncio.Future[Message] | None = None
        self._listens = _body_length(scope) <= _HELD_BODY
        self._held = 0

    @property
    def inside(self) -> bool:
        return self._turn is not None and self._turn.done()

    async def enter(self) -> None:
        """Raises _Gone when the client leaves before its turn."""
        turn = self._turn = self._places.take()
        while self._listens and not turn.done():
            coming = self._coming()
            either: list[asyncio.Future[Any]] = [turn, coming]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if coming.done():
                message = self._taken()
                if message["type"] == "http.disconnect" and not turn.done():
                    raise _Gone
                self._early.append(message)
                self._held += len(message.get("body", b""))
                self._listens = self._held <= _HELD_BODY
        if not turn.done():
            await asyncio.wait({turn})  # which, other than awaiting it, leaves it alone when we are cancelled

    def leave(self) -> None:
        if self._turn is not None:
            self._places.give_back(self._turn)
            self._turn = None

    async def come_back(self) -> None:
        self._turn = self._places.take(first=True)
        if not self._turn.done():
            await asyncio.wait({self._turn})

    async def receive(self) -> Message:
        """For the application. What has not come yet is waited for outside, so that the slow keep nobody out."""
        if self._early:
            return self._early.popleft()
        coming = self._coming()
        await asyncio.wait({coming}, timeout=0)
        if not coming.done() and self._turn is not None:
            self.leave()
            await asyncio.wait({coming})
            await self.come_back()
        await coming
        return self._taken()

    def _coming(self) -> "asyncio.Future[Message]":
        if self._next is None:
            self._next = asyncio.ensure_future(self._receive())
        return self._next

    def _taken(self) -> Message:
        assert self._next is not None, "it has come"
        message, self._next = self._next.result(), None
        return message


def _body_length(scope: dict[str, Any]) -> int:
    """More than is held when the client does not say."""
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else _HELD_BODY + 1
        if name == b"transfer-encoding":
            return _HELD_BODY + 1
    return 0


async def _refuse(send: Send) -> None:
    text, code = f"the service is overloaded: try again in {RETRY_AFTER_SECONDS} s", "OVERLOADED"
    body = msgspec.json.encode({"error": code, "errorType": code, "errorDescription": text, "message": text})
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"retry-after", str(RETRY_AFTER_SECONDS).encode()),
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": body})
