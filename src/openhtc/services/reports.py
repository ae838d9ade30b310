"""Applies what agents report: one transaction for a bundle, each item judged by its fencing token."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from openhtc.domain.errors import InvalidRequest, Unauthorized
from openhtc.domain.work import JobReport, LogChunk, Report, ReportAnswer
from openhtc.services.changes import Changes
from openhtc.services.clock import Clock
from openhtc.storage import leasing, log_chunks
from openhtc.storage.database import Connection, Database

MAX_ITEMS = 5000
"""Jobs and log chunks in one report."""

Triple = tuple[int, int, int]
"""(batch, index, fencing token)"""


class Reports:
    def __init__(self, database: Database, clock: Clock, lease_seconds: int) -> None:
        self._database = database
        self._clock = clock
        self._lease = timedelta(seconds=lease_seconds)

    async def apply(self, agent_no: int, report: Report) -> ReportAnswer:
        """Raises Unauthorized when the agent was given up; what it reported under live leases counts all the same."""
        if len(report.jobs) + len(report.chunks) > MAX_ITEMS:
            raise InvalidRequest(f"the report has more than {MAX_ITEMS} items")
        for chunk in report.chunks:
            _check_chunk(chunk)

        async def work(connection: Connection) -> tuple[bool, ReportAnswer]:
            now = self._clock()
            renewed = await leasing.renew_agent(
                connection, agent_no, now, now + self._lease, stopping=report.stopping
            )
            alive = renewed is not None
            changes = Changes(now)
            gone = await _take(connection, agent_no, report, changes)
            held = await self._reconcile(connection, agent_no, report, now, changes)
            await changes.apply(connection)
            answer = ReportAnswer(stop=held.stop, preempt=held.preempt, gone=sorted({*gone, *held.gone}))
            return alive, answer

        alive, answer = await self._database.run(work)
        if not alive:
            raise Unauthorized("this agent was given up: open a new session")
        return answer

    async def _reconcile(
        self, connection: Connection, agent_no: int, report: Report, now: datetime, changes: Changes
    ) -> ReportAnswer:
        """Compare the leases that the agent says it holds with those that it has.

        A grant may still be on its way to the agent, so only an old lease counts as lost; from an agent that
        takes no more work, any lease that it does not hold.
        """
        known = await leasing.agent_leases(connection, agent_no, marked=report.held is None)
        live = [lease for lease in known if lease.lease not in changes.concluded]
        stop = [lease.lease for lease in live if lease.cancelled_at is not None]
        preempt = [lease.lease for lease in live if lease.recalled_at and not lease.cancelled_at]
        if report.held is None:
            return ReportAnswer(stop=stop, preempt=preempt)
        held = set(report.held) | changes.started
        certain = now if report.stopping else now - self._lease
        lost = [
            (lease.batch_no, lease.idx, lease.lease)
            for lease in live
            if lease.lease not in held and lease.leased_at <= certain
        ]
        for job in await leasing.lock_leases(connection, lost):
            changes.take_back(job)
        known_or_started = {lease.lease for lease in live} | changes.started
        return ReportAnswer(stop=stop, preempt=preempt, gone=sorted(held - known_or_started))


async def _take(connection: Connection, agent_no: int, report: Report, changes: Changes) -> list[int]:
    """Store chunks, collect starts and ends; returns the fencing tokens that are not live, or not this agent's.

    An agent that was started again reports what it did in a former life.
    """
    asked: set[Triple] = {_triple(item) for item in report.jobs} | {_triple(chunk) for chunk in report.chunks}
    if not asked:
        return []
    locked = await leasing.lock_leases(connection, sorted(asked))
    own = {agent_no}
    if any(job.agent_no != agent_no for job in locked):
        own = await leasing.lives_of_agent(connection, agent_no)
    live = {(job.batch_no, job.idx, job.lease): job for job in locked if job.agent_no in own}
    chunks = [chunk for chunk in report.chunks if _triple(chunk) in live and _writer(chunk) in own]
    if chunks:
        await log_chunks.add_chunks(connection, chunks)
    for item in _merged(report.jobs):
        job = live.get(_triple(item))
        if job is not None and item.outcome is not None:
            changes.conclude(job, item)
        elif job is not None:
            changes.start(job, item)
    return [triple[2] for triple in asked if triple not in live]


async def hand_back(connection: Connection, leases: Sequence[Triple], now: datetime) -> None:
    """Return granted jobs whose grant could not be delivered."""
    changes = Changes(now)
    for job in await leasing.lock_leases(connection, leases):
        changes.take_back(job)
    await changes.apply(connection)


async def expire_agent(connection: Connection, agent_no: int, now: datetime) -> None:
    """Take a page of an agent's jobs back; when none is left, its life is over."""
    jobs = await leasing.lock_agent_leases(connection, agent_no, MAX_ITEMS)
    changes = Changes(now)
    for job in jobs:
        changes.lose(job, "the node was lost")
    await changes.apply(connection)
    if len(jobs) < MAX_ITEMS:
        await leasing.end_agent(connection, agent_no, now)


def _triple(item: JobReport | LogChunk) -> Triple:
    return item.batch, item.index, item.lease


def _writer(chunk: LogChunk) -> int:
    """The agent that may write where the object lies; -1 for none. An agent that opened another session while a job ran
    writes as the new one.
    """
    number = chunk.key.split("/")[1]
    return int(number) if number.isascii() and number.isdigit() else -1


def _check_chunk(chunk: LogChunk) -> None:
    """Agents may name log objects only, so that no report makes a user's file readable as a log."""
    if not chunk.key.startswith("logs/") or ".." in chunk.key or "\0" in chunk.key:
        raise InvalidRequest(f"key: {chunk.key!r} is not the key of a log object")


def _merged(items: list[JobReport]) -> list[JobReport]:
    """One report for each lease: the first end wins and takes the start's time with it."""
    merged: dict[Triple, JobReport] = {}
    for item in items:
        triple = _triple(item)
        before = merged.get(triple)
        if before is None or (before.outcome is None and item.started_at is not None):
            merged[triple] = item
        elif before.outcome is None:
            merged[triple] = msgspec.structs.replace(item, started_at=before.started_at)
    return list(merged.values())
