"""Lets users' requests in a few at a time, so that a flood of them slows nobody but those who wait in it.

The server's one loop serves everybody: with thousands of requests in it at once, each of them is slow, and so are the
agents, whose reports end jobs. Users' requests wait at the door instead, in the order in which they came; agents do
not. Who waits too long, or finds more before them than can be served in that time, is refused with 503 and told when to
come again. Clients that ask again at once, whatever they are told, would make refusing all that is done, so a refusal
itself is kept back for a while. Who has gone away meanwhile is not served any more, and who sends slowly has no place
while nothing comes.

Nothing of a request is begun while it waits: a guest is all that there is of it until then.
"""

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from openhtc.api.app import API_PREFIX
from openhtc.lifecycle.turns import CURRENT
from openhtc.server.places import Guest, Places, Receive, Send, Visit

App = Callable[[Any, Any, Any], Awaitable[None]]

CONNECTIONS = 16_384
PATIENCE_SECONDS = 60.0
TOKEN_PATIENCE_SECONDS = 240.0
"""Of requests whose clients take any answer but 200 and 401 for nonsense, but wait for five minutes."""
RETRY_AFTER_SECONDS = 5

VISIT = "openhtc.visit"
"""Where a request's scope holds its place."""

_PASSING = ("/agent/", "/healthz", "/metrics", "/.well-known/")
_PATIENT = frozenset(
    prefix + path
    for prefix in ("", API_PREFIX)
    for path in ("/auth/token", "/auth/whoami", "/registry/token")
)
_SOON_SECONDS = 1.0
"""How long refusals are kept back when there are many."""
_CERTAIN = 0.7
"""Share of their patience in which those who are let in line are to be served, as the rate is now."""
_LOG_SECONDS = 10.0

log = structlog.get_logger(__name__)


class Turnstile:
    """Whom the server begins to serve, when; and an ASGI application around another one, for those it has let in."""

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
        self.places = Places(at_once, self._max_waiting / patience_seconds / _CERTAIN, self._refuse)
        self._kept_long, self._kept_soon = (
            _KeptBack(RETRY_AFTER_SECONDS, self._come_again),
            _KeptBack(_SOON_SECONDS, self._come_again),
        )
        self._patience = patience_seconds
        self._in_time = patience_seconds * _CERTAIN
        self._refused = 0
        self._told_at = -math.inf
        self._is_closed = False

    @property
    def kept_back(self) -> int:
        return len(self._kept_long.guests) + len(self._kept_soon.guests)

    def come(self, guest: Guest) -> None:
        """Begin the request, now or when it is its turn, or refuse it, mostly later."""
        if guest.path.startswith(_PASSING):
            guest.begin(None)
        else:
            now = asyncio.get_running_loop().time()
            self._come(guest, now, now)

    def _come(self, guest: Guest, arrived: float, now: float) -> None:
        patient = guest.path in _PATIENT
        if self._is_closed:
            self._refuse(guest)
        elif not self._is_full(patient=patient):
            patience = TOKEN_PATIENCE_SECONDS if patient else self._patience
            self.places.wait(Visit(guest, self.places, patient=patient), arrived + patience)
        elif not self._keep_back(guest, arrived, now):
            self._refuse(guest)

    def _come_again(self, guest: Guest, arrived: float, now: float) -> None:
        """After it was kept back: into the line when there is room now. Only the patient are kept back again."""
        if guest.is_gone():
            return
        patient = guest.path in _PATIENT
        if self._is_full(patient=patient) and (not patient or now - arrived >= TOKEN_PATIENCE_SECONDS):
            self._refuse(guest)
        else:
            self._come(guest, arrived, now)

    def _is_full(self, *, patient: bool) -> bool:
        places = self.places
        if patient:
            return places.patient >= self._max_patient
        waiting = len(places.line)
        if waiting - places.patient >= self._max_waiting:
            return True
        return waiting >= places.per_second * self._in_time and waiting >= places.number

    def _keep_back(self, guest: Guest, arrived: float, now: float) -> bool:
        """Shorter when there are many; False when there are too many for that."""
        kept = self.kept_back
        tokens = self._max_patient - self.places.patient
        if len(self.places.line) + kept + tokens >= self._max_held:
            return False
        (self._kept_long if kept < self._max_kept else self._kept_soon).add(guest, arrived, now)
        return True

    def _refuse(self, guest: Guest) -> None:
        guest.refuse()
        self._refused += 1
        now = asyncio.get_running_loop().time()
        if now - self._told_at > _LOG_SECONDS:  # now and then, not for each
            self._told_at = now
            log.warning("overloaded", waiting=self.places.waiting, refused=self._refused)

    def close(self) -> None:
        """The server stops: refuse those who wait now, so that they find another one."""
        self._is_closed = True
        for guest in (*self._kept_long.empty(), *self._kept_soon.empty(), *self.places.empty()):
            if not guest.is_gone():
                self._refuse(guest)

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        visit: Visit | None = scope.pop(VISIT, None)
        if visit is None:
            await self._app(scope, receive, send)
            return
        CURRENT.set(visit)
        try:
            await self._app(scope, visit.receiving(receive), visit.sending(send))
        finally:
            visit.end()


class _KeptBack:
    """Guests for whom there is no room in line, for so long each."""

    def __init__(self, seconds: float, then: Callable[[Guest, float, float], None]) -> None:
        self._seconds = seconds
        self._then = then
        self.guests: deque[tuple[float, float, Guest]] = deque()
        """Until when each is kept back, and when it came."""
        self._timer: asyncio.TimerHandle | None = None

    def add(self, guest: Guest, arrived: float, now: float) -> None:
        self.guests.append((now + self._seconds, arrived, guest))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._look)

    def empty(self) -> list[Guest]:
        guests = [guest for _, _, guest in self.guests]
        self.guests.clear()
        return guests

    def _look(self) -> None:
        """One timer for all: answers in bunches cost less."""
        loop = asyncio.get_running_loop()
        now, self._timer = loop.time(), None
        due = []
        while self.guests and self.guests[0][0] <= now:
            due.append(self.guests.popleft())
        if self.guests:
            self._timer = loop.call_later(self._seconds / 20, self._look)
        for _, arrived, guest in due:
            self._then(guest, arrived, now)
