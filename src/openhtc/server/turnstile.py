"""Lets users' requests in a few at a time, so that a flood of them slows nobody but those who wait in it.

The server's one loop serves everybody: with thousands of requests in it at once, each of them is slow, and so are the
agents, whose reports end jobs. Users' requests wait at the door instead, in the order in which they came; agents do
not. Who waits too long, or finds more before them than can be served in that time, is refused with 503 and told when to
come again. Clients that ask again at once, whatever they are told, would make refusing all that is done, so a refusal
itself is kept back for a while. Who has gone away meanwhile is not served any more, and who sends slowly has no place
while nothing comes.
"""

import asyncio
import math
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

CONNECTIONS = 16_384
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
_HELD_BODY = 64 * 1024
"""A larger body is not read before it is served: nobody notices then when its client has gone away."""
DOUBTED_SECONDS = 1.0
"""Who has waited for so long may have gone."""
_SILENT_SECONDS = 0.004
_LOOK_SECONDS = 1.0
_FORGOTTEN = 0.2
"""Share of a known rate that each look replaces by what it sees."""
_CERTAIN = 0.7
"""Share of their patience in which those who are let in line are to be served, as the rate is now."""
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
        at_once: int,
        connections: int = CONNECTIONS,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        """``connections``: how many there may be at once. Half of them may wait, an eighth for a token, a quarter is
        kept back until the time that they are told; a sixteenth is left for who does none of that."""
        self._app = app
        self._max_waiting, self._max_patient, self._max_kept = (
            connections // 2,
            connections // 8,
            connections // 4,
        )
        self._max_held = connections * 15 // 16
        self._places = _Places(at_once, self._max_waiting / patience_seconds / _CERTAIN)
        self._kept = _Places(0, 0, look_seconds=_LOOK_SECONDS / 4)
        self._patience = patience_seconds
        self._patient = 0
        self._refused = 0
        self._told_at = 0.0

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(_PASSING):
            await self._app(scope, receive, send)
            return
        arrived = time.monotonic()
        patient = scope["path"] in _PATIENT
        if self._is_full(patient=patient) and not await self._outlasts(arrived, patient=patient):
            self._tell()
            await _refuse(send)
            return
        visit = _Visit(scope, receive, self._places, arrived)
        CURRENT.set(visit)
        try:
            if await self._let_in(visit, patient=patient):
                await self._app(scope, visit.receive, send)
                return
        except _Gone:
            return
        finally:
            visit.end()
        self._tell()
        await _refuse(send)

    def _is_full(self, *, patient: bool) -> bool:
        if patient:
            return self._patient >= self._max_patient
        if self._places.waiting - self._patient >= self._max_waiting:
            return True
        in_time = self._places.per_second * self._patience * _CERTAIN
        return self._places.waiting >= max(in_time, self._places.number)

    async def _outlasts(self, arrived: float, *, patient: bool) -> bool:
        """Kept back for a while, or again and again when patient: whether there is room in line then."""
        while await self._keep_back():
            if not self._is_full(patient=patient):
                return True
            if not patient or time.monotonic() - arrived >= TOKEN_PATIENCE_SECONDS:
                return False
        return False

    async def _keep_back(self) -> bool:
        """Shorter when there are many; False, at once, when there are too many for that."""
        tokens = self._max_patient - self._patient
        if self._places.waiting + self._kept.waiting + tokens >= self._max_held:
            return False
        turn = self._kept.take(RETRY_AFTER_SECONDS if self._kept.waiting < self._max_kept else _LOOK_SECONDS)
        try:
            await turn
        finally:
            self._kept.give_back(turn)
        return True

    async def _let_in(self, visit: "_Visit", *, patient: bool) -> bool:
        """In its turn; False when that does not come in time. Raises _Gone."""
        if not patient:
            return await visit.enter(self._patience)
        self._patient += 1
        try:
            return await visit.enter(TOKEN_PATIENCE_SECONDS)
        finally:
            self._patient -= 1

    def _tell(self) -> None:
        """Now and then, not for each."""
        self._refused += 1
        if (now := time.monotonic()) - self._told_at > _LOG_SECONDS:
            self._told_at = now
            log.warning("overloaded", waiting=self._places.waiting, refused=self._refused)


class _Places:
    """So many, given in turn. A turn is True when it is there, False when it was waited for too long."""

    def __init__(self, number: int, most: float, look_seconds: float = _LOOK_SECONDS) -> None:
        self.number = number
        self.per_second = most
        """How many can be given to those who wait for their first, as far as that was seen; never above ``most``."""
        self._most = most
        self._look_seconds = look_seconds
        self._given = 0
        self._was_free = False
        """A place was, since the last look: more could have been given."""
        self._learnt_at = 0.0
        self._free = number
        self._turns: deque[tuple[float, asyncio.Future[bool]]] = deque()
        """Until when each waits. Those that were given up are among them until it would be their turn."""
        self._looks: asyncio.TimerHandle | None = None
        self.waiting = 0

    def take(self, patience_seconds: float) -> "asyncio.Future[bool]":
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[bool] = loop.create_future()
        if self._free > 0:
            self._free -= 1
            turn.set_result(True)
            return turn
        self.waiting += 1
        self._turns.append((loop.time() + patience_seconds, turn))
        if self._looks is None:
            self._begin(loop.time())
            self._looks = loop.call_later(min(patience_seconds, self._look_seconds), self._look)
        return turn

    def take_first(self) -> "asyncio.Future[bool]":
        """Before all who wait, however long it takes."""
        turn = self.take(math.inf)
        if not turn.done():
            self._turns.rotate(1)
        return turn

    def give_back(self, turn: "asyncio.Future[bool]") -> None:
        """The place, or the wish for one."""
        if not turn.done() or turn.cancelled():
            turn.cancel()
            self.waiting -= 1
        elif turn.result():
            self._pass_on()

    def _pass_on(self) -> None:
        while self._turns:
            until, turn = self._turns.popleft()
            if not turn.done():
                self.waiting -= 1
                self._given += until < math.inf
                turn.set_result(True)
                return
        self._free += 1
        self._was_free = True

    def given_for_nothing(self) -> None:
        """To somebody who had gone."""
        self._given -= 1

    def learn(self, now: float) -> None:
        rate = min(max(0, self._given) / (now - self._learnt_at), self._most)
        if rate > self.per_second or not self._was_free:
            self.per_second += (rate - self.per_second) * _FORGOTTEN
        self._begin(now)

    def _begin(self, now: float) -> None:
        self._learnt_at, self._given, self._was_free = now, 0, False

    def _look(self) -> None:
        """End the patience of those whose time has come: one timer for all of them."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        self.learn(now)
        for until, turn in self._turns:
            if until <= now and not turn.done():
                self.waiting -= 1
                turn.set_result(False)
        self._turns = deque(entry for entry in self._turns if not entry[1].done())
        self._looks = loop.call_later(self._look_seconds, self._look) if self._turns else None


class _Visit:
    """One request. What came of a short body is looked at before it is served: its client may have gone meanwhile."""

    def __init__(self, scope: dict[str, Any], receive: Receive, places: _Places, arrived: float) -> None:
        self._scope = scope
        self._arrived = arrived
        self._receive = receive
        self._places = places
        self._turn: asyncio.Future[bool] | None = None
        self._outside = 0
        self._over = False
        self._early: deque[Message] = deque()
        self._next: asyncio.Future[Message] | None = None

    async def enter(self, patience_seconds: float) -> bool:
        """False when the turn does not come in time. Raises _Gone when the client has left before it."""
        waited = time.monotonic() - self._arrived
        turn = self._turn = self._places.take(max(0.0, patience_seconds - waited))
        at_once = turn.done()
        let_in = await turn
        if let_in and time.monotonic() - self._arrived >= DOUBTED_SECONDS and await self._is_gone():
            if not at_once:
                self._places.given_for_nothing()
            raise _Gone
        return let_in

    async def _is_gone(self) -> bool:
        """News of a client come from another thread, so they need a moment: one that is still there says nothing."""
        held, most = 0, _HELD_BODY if _body_length(self._scope) <= _HELD_BODY else -1
        while held <= most:
            coming = self._coming()
            await asyncio.wait({coming}, timeout=_SILENT_SECONDS)
            await asyncio.sleep(0)
            if not coming.done():
                return False
            message = self._taken()
            if message["type"] == "http.disconnect":
                return True
            self._early.append(message)
            held += len(message.get("body", b""))
        return False

    def leave(self) -> None:
        self._outside += 1
        self._give_back()

    async def come_back(self) -> None:
        """Several parts of a request may be outside at once: with the last of them it takes its one place again."""
        self._outside -= 1
        if self._outside or self._over:
            return
        turn = self._turn = self._places.take_first()
        await asyncio.wait({turn})  # which may be given away again by another part meanwhile

    def end(self) -> None:
        """Parts that are still outside come back to nothing."""
        self._over = True
        self._give_back()

    def _give_back(self) -> None:
        if self._turn is not None:
            self._places.give_back(self._turn)
            self._turn = None

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


def _refusal() -> tuple[Message, Message]:
    text, code = f"the service is overloaded: try again in {RETRY_AFTER_SECONDS} s", "OVERLOADED"
    body = msgspec.json.encode({"error": code, "errorType": code, "errorDescription": text, "message": text})
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"retry-after", str(RETRY_AFTER_SECONDS).encode()),
    ]
    return (
        {"type": "http.response.start", "status": 503, "headers": headers},
        {"type": "http.response.body", "body": body},
    )


_REFUSAL = _refusal()
"""Made once: there are many when there are any."""


async def _refuse(send: Send) -> None:
    for message in _REFUSAL:
        await send(message)
