"""Times as the API writes them."""

from datetime import UTC, datetime


def rfc3339(moment: datetime) -> str:
    """In UTC with Z; fractions only where there are any."""
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.isoformat().removesuffix("+00:00") + "Z"


def rfc3339_or_none(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(moment)


def rfc3339_nanoseconds(nanoseconds: int) -> str:
    """From nanoseconds since the epoch, with all nine digits: log lines are told apart by them."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
