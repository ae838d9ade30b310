"""The database's time of day, which every server of an installation goes by."""

import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import structlog

LOOK_SECONDS = 5.0
"""How often each server compares: it may take so long until all of them know that the database's clock was moved."""
_ASKS = 3
_DRIFT = 0.0005
"""How far two clocks may run apart, as a share of the time: five times what the worst common oscillators do."""
_STEP_SECONDS = 1.0

log = structlog.get_logger(__name__)

AskTime = Callable[[], Awaitable[datetime]]


class DatabaseClock:
    """Tells the time without asking for it: by this machine's counter, and how far the database's clock is ahead of it.

    What one answer says is an interval, as wide as the round trip; what all of them have in common is narrower
    than any. The time of day of this machine is not asked, so it may be wrong or jump.
    """

    def __init__(self, counter: Callable[[], float] | None = None) -> None:
        self._counter = counter or _count
        self._earliest = self._latest = time.time() - self._counter()
        """Between which the database's time lies ahead of this machine's counter, in seconds."""
        self._looked_at: float | None = None
        self._stepped_at: float | None = None

    def __call__(self) -> datetime:
        return datetime.fromtimestamp(self._counter() + (self._earliest + self._latest) / 2, UTC)

    def stepped_within(self, seconds: float) -> bool:
        """Whether the database's own clock was moved during the last ``seconds``."""
        return self._stepped_at is not None and self._counter() - self._stepped_at < seconds

    async def look(self, ask: AskTime) -> None:
        """Compare with the database, whose ``clock_timestamp()`` is what ``ask`` returns."""
        for _ in range(_ASKS):
            before = self._counter()
            there = (await ask()).timestamp()
            self._learn(there - self._counter(), there - before)

    def _learn(self, earliest: float, latest: float) -> None:
        now = self._counter()
        if self._looked_at is None:
            self._earliest, self._latest = earliest, latest
        else:
            drift = (now - self._looked_at) * _DRIFT
            common = max(earliest, self._earliest - drift), min(latest, self._latest + drift)
            if common[0] > common[1]:
                self._notice_step(now, (earliest + latest - self._earliest - self._latest) / 2)
                common = earliest, latest
            self._earliest, self._latest = common
        self._looked_at = now

    def _notice_step(self, now: float, seconds: float) -> None:
        if abs(seconds) >= _STEP_SECONDS:
            self._stepped_at = now
            log.warning("database_clock_stepped", seconds=round(seconds, 3))


def _count() -> float:
    """Seconds that only go on, also while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
