"""Applies decided changes to leased jobs, all of a bundle in one statement."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from openhtc.domain.enums import FailureCode, Outcome, StatusCode
from openhtc.storage.database import Connection
from openhtc.storage.queries import load

_SQL = load("leasing")


class Transition(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A leased job becomes RUNNING, goes back to RUNNABLE, or ends.

    ``outcome`` is that of the attempt and set unless the attempt goes on; so is ``ended_at``.
    """

    batch_no: int
    idx: int
    status: StatusCode
    started_at: datetime | None
    failures: int
    losses: int
    ended_at: datetime | None = None
    outcome: Outcome | None = None
    exit_code: int | None = None
    failure: FailureCode | None = None
    reason: str | None = None
    cpu_ms: int | None = None
    max_memory_mib: int | None = None
    rests_until: datetime | None = None
    """Of a job that goes back and is not to be tried again at once."""


async def apply(connection: Connection, transitions: Sequence[Transition]) -> None:
    """The caller holds the rows' locks. At most one transition for a job."""
    await _keep_attempts(connection, [t for t in transitions if t.status is StatusCode.RUNNABLE])
    if transitions:
        await connection.execute(
            _SQL["move_jobs"],
            [t.batch_no for t in transitions],
            [t.idx for t in transitions],
            [int(t.status) for t in transitions],
            [t.started_at for t in transitions],
            [t.ended_at for t in transitions],
            [t.exit_code for t in transitions],
            [None if t.failure is None else t.failure.value for t in transitions],
            [t.reason for t in transitions],
            [t.cpu_ms for t in transitions],
            [t.max_memory_mib for t in transitions],
            [t.failures for t in transitions],
            [t.losses for t in transitions],
            [t.rests_until for t in transitions],
        )


async def end_rests(connection: Connection, now: datetime, longest: timedelta, most: int) -> int:
    """Jobs that have rested may be leased again. Returns how many; with ``most`` or more of them there are others."""
    ended = await connection.fetch(_SQL["end_rests"], now, now + longest, most)
    return len(ended)


async def _keep_attempts(connection: Connection, requeued: Sequence[Transition]) -> None:
    """Before a job goes back to the queue, its attempt moves into the history."""
    if requeued:
        await connection.execute(
            _SQL["keep_attempts"],
            [t.batch_no for t in requeued],
            [t.idx for t in requeued],
            [t.started_at for t in requeued],
            [t.ended_at for t in requeued],
            [None if t.outcome is None else t.outcome.value for t in requeued],
            [t.exit_code for t in requeued],
            [t.reason for t in requeued],
        )
