"""A job's history, derived from the times of its attempts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from openhtc.domain.enums import JobStatus

_TICK = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class AttemptTimes:
    """When one attempt reached which state; the last one of a job may still be under way."""

    queued_at: datetime | None
    leased_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    reason: str | None = None
    exit_code: int | None = None
    node: str | None = None


@dataclass(frozen=True, slots=True)
class Event:
    at: datetime
    status: JobStatus
    reason: str | None = None
    exit_code: int | None = None
    node: str | None = None
    cancelled: bool = False


def derive(
    created_at: datetime, attempts: Sequence[AttemptTimes], final: JobStatus | None, cancelled: bool
) -> list[Event]:
    """All events of a job, at strictly increasing times.

    ``attempts`` are in order, the current one last; ``final`` is the terminal status once there is one. A former
    attempt's end shows as the RUNNABLE event that follows it, with the reason why it ended.
    """
    events = [Event(created_at, JobStatus.SUBMITTED_TO_RESCALE)]
    before: AttemptTimes | None = None
    for attempt in attempts:
        if attempt.queued_at is not None:
            events.append(_queued(attempt.queued_at, before))
        if attempt.leased_at is not None:
            events.append(Event(attempt.leased_at, JobStatus.STARTING, node=attempt.node))
        if attempt.started_at is not None:
            events.append(Event(attempt.started_at, JobStatus.RUNNING, node=attempt.node))
        before = attempt
    if final is not None and before is not None and before.ended_at is not None:
        events.append(Event(before.ended_at, final, before.reason, before.exit_code, before.node, cancelled))
    return _spread(events)


def _queued(at: datetime, before: AttemptTimes | None) -> Event:
    if before is None or before.ended_at is None:
        return Event(at, JobStatus.RUNNABLE)
    # It may have rested before it was queued again.
    return Event(before.ended_at, JobStatus.RUNNABLE, before.reason, before.exit_code, before.node)


def _spread(events: list[Event]) -> list[Event]:
    """Move events that share a time with their predecessor to just behind it."""
    spread: list[Event] = []
    for event in events:
        at = max(event.at, spread[-1].at + _TICK) if spread else event.at
        spread.append(Event(at, event.status, event.reason, event.exit_code, event.node, event.cancelled))
    return spread
