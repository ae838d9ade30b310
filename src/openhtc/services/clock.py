"""The time, as an argument."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def micros(moment: datetime) -> int:
    """Microseconds since the epoch, as agents exchange times."""
    return round(moment.timestamp() * 1_000_000)


_LAST = micros(datetime(9999, 1, 1, tzinfo=UTC))


def from_micros(value: int) -> datetime:
    """A time that cannot be becomes the nearest one that can: an agent's clock may say anything."""
    return datetime.fromtimestamp(min(max(value, 0), _LAST) / 1_000_000, UTC)
