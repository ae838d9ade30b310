"""Checks the invariants of a live store: what was accepted is there, and everything goes together."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from openhtc.domain.attempts import MAX_LOSSES
from openhtc.domain.errors import NotFound
from openhtc.domain.retention import JOBS_KEPT
from openhtc.services.clock import Clock
from openhtc.storage import projects, verification
from openhtc.storage.database import Database
from openhtc.storage.verification import Broken

_KEEPER_GRACE = timedelta(minutes=1)
"""The keeper does within a second or two what is due; a new one is elected within some more, and waits for a lease."""


@dataclass(frozen=True, slots=True)
class Check:
    """``statement`` finds what breaks ``promise``."""

    statement: str
    promise: str


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found: the first rows, and how many there are in all."""

    check: str
    promise: str
    broken: int
    rows: list[Broken]
    seconds: float


CHECKS = (
    Check("missing_jobs", "every accepted job is there"),
    Check("jobs_without_batch", "every job belongs to a submission"),
    Check("shared_leases", "a fencing token belongs to one job"),
    Check("leases_of_ended_agents", "only live agents hold leases"),
    Check("overdue_leases", "leases that have run out are taken back"),
    Check("overdue_cancellations", "cancellations are carried out"),
    Check("overdue_rests", "rests after failed attempts end"),
    Check("contradictory_jobs", "status, times and end of a job go together"),
    Check("untold_attempts", "every attempt is told, and none follows a success"),
    Check("wrong_charges", "retries are used up by what the program did only"),
    Check("counters_of_tasks", "counters of tasks and groups equal a recount"),
    Check("counters_of_batches", "counters of batches equal a recount"),
    Check("counters_of_projects", "metrics of projects equal a recount"),
    Check("exceeded_limits", "nothing is released over a limit"),
    Check("gaps_in_logs", "every line of a log is there once"),
    Check("counters_of_logs", "log objects are counted as they are used"),
    Check("strange_logs", "logs come from agents that had the job"),
    Check("strange_batches", "nothing crosses the border of a workspace"),
)


class Verification:
    def __init__(self, database: Database, clock: Clock, lease_seconds: float = 30) -> None:
        self._database = database
        self._clock = clock
        self._lease = timedelta(seconds=lease_seconds)

    async def run(
        self, task_id: UUID | None, limit: int, before_each: Callable[[Check], None] = lambda check: None
    ) -> list[Finding]:
        """Check one task, or everything when there is none; at most ``limit`` rows of each finding are named.

        All checks see one moment, so that jobs may go on meanwhile. Raises NotFound for a task that there is not.
        """
        now = self._clock()
        bounds: dict[str, datetime | int] = {
            "missing_jobs": now - JOBS_KEPT,
            "overdue_leases": now - _KEEPER_GRACE - self._lease,
            "overdue_cancellations": now - _KEEPER_GRACE,
            "overdue_rests": now - _KEEPER_GRACE,
            "wrong_charges": MAX_LOSSES,
            "gaps_in_logs": now - JOBS_KEPT,
        }
        findings = []
        async with self._database.transaction() as connection:
            await verification.take_snapshot(connection)
            if task_id is not None and not await projects.has_task(connection, task_id):
                raise NotFound(f"there is no task {task_id}")
            for check in CHECKS:
                before_each(check)
                began = time.monotonic()
                rows, total = await verification.find_broken(
                    connection, check.statement, task_id, limit, bounds.get(check.statement)
                )
                seconds = round(time.monotonic() - began, 3)
                findings.append(Finding(check.statement, check.promise, total, rows, seconds))
        return findings
