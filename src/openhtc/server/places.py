"""Places for so many requests at a time, given in turn, and what a request is while it waits for one."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_LOOK_SECONDS = 1.0
_EACH_LOOKS = 10
"""After so many of them each of those who wait is looked at, not only the first."""
_FORGOTTEN = 0.2
"""Share of a known rate that each look replaces by what it sees."""


class Guest(Protocol):
    """A request that has come and was not begun. Exactly one of its two ends is called, once, unless it is gone."""

    @property
    def path(self) -> str: ...

    def is_gone(self) -> bool:
        """Nobody waits for the answer any more."""

    def has_news(self) -> bool:
        """A piece of the body has come, or its end, or the end of the connection."""

    def has_room(self) -> bool:
        """What is sent now goes on its way."""

    def begin(self, visit: "Visit | None") -> None:
        """Call the application, with ``visit`` in the scope when there is one."""

    def refuse(self) -> None:
        """Answer 503."""


class Places:
    """So many, given in turn: first to those who were inside before, then to the line."""

    def __init__(self, number: int, most: float, refuse: Callable[[Guest], None]) -> None:
        """``refuse``: is called with those who have waited for too long."""
        self.number = number
        self.per_second = most
        """How many can be given to those who wait for their first, as far as that was seen; never above ``most``."""
        self._most = most
        self._refuse = refuse
        self._given = 0
        self._was_free = False
        """A place was, since the last look: more could have been given."""
        self._learnt_at = 0.0
        self._free = number
        self.line: deque[tuple[float, Visit]] = deque()
        """Until when each waits."""
        self._back: deque[asyncio.Future[None]] = deque()
        self._looks: asyncio.TimerHandle | None = None
        self._looked = 0
        self.patient = 0
        """How many in line are."""

    @property
    def waiting(self) -> int:
        """In line; those who have gone are among them until somebody looks."""
        return len(self.line)

    def wait(self, visit: "Visit", until: float) -> None:
        """Begin it, now or when it is its turn; refuse it when that does not come in time."""
        if self._free > 0:
            self._free -= 1
            visit.begin()
            return
        self.line.append((until, visit))
        self.patient += visit.is_patient
        if self._looks is None:
            loop = asyncio.get_running_loop()
            self._begin_to_learn(loop.time())
            self._looks = loop.call_later(_LOOK_SECONDS, self._look)

    def first(self) -> "asyncio.Future[None]":
        """Done as soon as there is one, which is before all who wait for their first, however long it takes."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._free > 0:
            self._free -= 1
            turn.set_result(None)
        else:
            self._back.append(turn)
        return turn

    def pass_on(self) -> None:
        """A place that somebody had."""
        while self._back:
            turn = self._back.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        while self.line:
            visit = self.line.popleft()[1]
            self.patient -= visit.is_patient
            if not visit.guest.is_gone():
                self._given += 1
                visit.begin()
                return
        self._free += 1
        self._was_free = True

    def learn(self, now: float) -> None:
        rate = min(self._given / (now - self._learnt_at), self._most)
        if rate > self.per_second or not self._was_free:
            self.per_second += (rate - self.per_second) * _FORGOTTEN
        self._begin_to_learn(now)

    def empty(self) -> list[Guest]:
        guests = [visit.guest for _, visit in self.line]
        self.line.clear()
        self.patient = 0
        return guests

    def _begin_to_learn(self, now: float) -> None:
        self._learnt_at, self._given, self._was_free = now, 0, False

    def _look(self) -> None:
        """Send those away whose time has come, and forget those who have gone: one timer for all of them."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        self.learn(now)
        late = []
        while self.line and self.line[0][0] <= now:
            visit = self.line.popleft()[1]
            self.patient -= visit.is_patient
            late.append(visit.guest)
        self._looked += 1
        if self._looked % _EACH_LOOKS == 0:
            late += self._forget(now)
        self._looks = loop.call_later(_LOOK_SECONDS, self._look) if self.line else None
        for guest in late:
            if not guest.is_gone():
                self._refuse(guest)

    def _forget(self, now: float) -> list[Guest]:
        """Look at each: some have gone, and the patient keep others from being seen. Who is late."""
        line: deque[tuple[float, Visit]] = deque()
        late = []
        for until, visit in self.line:
            if until <= now:
                late.append(visit.guest)
            elif not visit.guest.is_gone():
                line.append((until, visit))
        self.line = line
        self.patient = sum(visit.is_patient for _, visit in line)
        return late


class Visit:
    """One request that has a place, or waits for one."""

    def __init__(self, guest: Guest, places: Places, *, patient: bool) -> None:
        self.guest = guest
        self.is_patient = patient
        self._places = places
        self._has_place = False
        self._wish: asyncio.Future[None] | None = None
        """For a place, by a part that comes back."""
        self._outside = 0
        self._over = False

    def begin(self) -> None:
        self._has_place = True
        self.guest.begin(self)

    def leave(self) -> None:
        self._outside += 1
        self._give_back()

    async def come_back(self) -> None:
        """Several parts of a request may be outside at once: with the last of them it takes its one place again."""
        self._outside -= 1
        if self._outside or self._over:
            return
        wish = self._wish = self._places.first()
        await asyncio.wait({wish})  # which may be given up by another part meanwhile

    def end(self) -> None:
        """Parts that are still outside come back to nothing."""
        self._over = True
        self._give_back()

    def _give_back(self) -> None:
        wish, self._wish = self._wish, None
        if wish is not None and not wish.done():
            wish.cancel()
        elif wish is not None or self._has_place:
            self._places.pass_on()
        self._has_place = False

    def receiving(self, receive: Receive) -> Receive:
        """For the application. What has not come yet is waited for outside, so that the slow keep nobody out."""

        async def received() -> Message:
            if self.guest.has_news() or self._over:
                return await receive()
            self.leave()
            try:
                return await receive()
            finally:
                await self.come_back()

        return received

    def sending(self, send: Send) -> Send:
        """For the application. Who takes an answer slowly has no place while nothing goes."""

        async def sent(message: Message) -> None:
            if self.guest.has_room() or self._over:
                await send(message)
                return
            self.leave()
            try:
                await send(message)
            finally:
                await self.come_back()

        return sent
