"""Agents, leases and what agents report: the statements that move jobs."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from openhtc.domain.placement import Waiting
from openhtc.domain.work import AgentHello, Capacity
from openhtc.storage.database import Connection
from openhtc.storage.queries import load

_SQL = load("leasing")


@dataclass(frozen=True, slots=True)
class Granted:
    batch_no: int
    idx: int
    attempt: int
    lease: int
    log_floor_ns: int


@dataclass(frozen=True, slots=True)
class WorkBatch:
    """What an agent must know of a batch."""

    batch_no: int
    id: UUID
    task_id: UUID
    project_id: UUID
    created_by: str
    request: dict[str, Any]
    region: str
    repository: str
    digest: str
    vcpus: int
    memory_mib: int
    disk_gib: int
    exec_timeout_seconds: int


@dataclass(frozen=True, slots=True)
class LeasedJob:
    """A job behind a live lease, locked until the transaction ends."""

    batch_no: int
    idx: int
    lease: int
    agent_no: int
    attempt: int
    failures: int
    losses: int
    status: int
    queued_at: datetime
    leased_at: datetime
    started_at: datetime | None
    cancelled_at: datetime | None
    max_retries: int
    task_id: UUID


@dataclass(frozen=True, slots=True)
class AgentLease:
    batch_no: int
    idx: int
    lease: int
    leased_at: datetime
    cancelled_at: datetime | None


async def insert_agent(connection: Connection, hello: AgentHello, now: datetime, expires_at: datetime) -> int:
    number: int = await connection.fetchval(
        _SQL["insert_agent"],
        hello.name,
        hello.region,
        hello.architecture,
        hello.runtime,
        hello.version,
        hello.capacity.vcpus,
        hello.capacity.memory_mib,
        hello.capacity.disk_gib,
        now,
        expires_at,
    )
    return number


async def renew_agent(
    connection: Connection, agent_no: int, now: datetime, expires_at: datetime
) -> str | None:
    """The agent's region; None when it was given up and must open a new session."""
    region: str | None = await connection.fetchval(_SQL["renew_agent"], agent_no, now, expires_at)
    return region


async def hold_agent(connection: Connection, agent_no: int, now: datetime) -> Capacity | None:
    """The capacity of a live agent, which cannot be given up before the transaction ends; None for others."""
    row = await connection.fetchrow(_SQL["hold_agent"], agent_no, now)
    return None if row is None else Capacity(row["vcpus"], row["memory_mib"], row["disk_gib"])


async def expired_agents(connection: Connection, now: datetime, limit: int) -> list[int]:
    return [row["agent_no"] for row in await connection.fetch(_SQL["expired_agents"], now, limit)]


async def end_agent(connection: Connection, agent_no: int, now: datetime) -> None:
    await connection.execute(_SQL["end_agent"], agent_no, now)


async def waiting_batches(connection: Connection, region: str, free: Capacity) -> list[Waiting]:
    rows = await connection.fetch(_SQL["waiting_batches"], region, free.vcpus, free.memory_mib, free.disk_gib)
    return [
        Waiting(
            batch=row["batch_no"],
            project=str(row["project_id"]),
            priority=row["priority"],
            jobs=row["runnable"],
            needs=Capacity(row["vcpus"], row["memory_mib"], row["disk_gib"]),
        )
        for row in rows
    ]


async def active_vcpus(connection: Connection, projects: Sequence[str]) -> dict[str, int]:
    rows = await connection.fetch(_SQL["active_vcpus"], [UUID(project) for project in projects])
    return {str(row["project_id"]): row["vcpus"] for row in rows}


async def lease_jobs(
    connection: Connection, shares: Sequence[tuple[int, int]], agent_no: int, now: datetime
) -> list[Granted]:
    """``shares`` are (batch, number of jobs); fewer come back when others were quicker."""
    batches = [batch for batch, _ in shares]
    rows = await connection.fetch(_SQL["lease_jobs"], batches, [n for _, n in shares], agent_no, now)
    return [Granted(**row) for row in rows]


async def batches_for_work(connection: Connection, batch_nos: Sequence[int]) -> list[WorkBatch]:
    return [WorkBatch(**row) for row in await connection.fetch(_SQL["batches_for_work"], list(batch_nos))]


async def lock_leases(connection: Connection, leases: Sequence[tuple[int, int, int]]) -> list[LeasedJob]:
    """``leases`` are (batch, index, fencing token); those that are not live any more are missing in the answer."""
    rows = await connection.fetch(
        _SQL["lock_leases"],
        [batch for batch, _, _ in leases],
        [index for _, index, _ in leases],
        [lease for _, _, lease in leases],
    )
    return [LeasedJob(**row) for row in rows]


async def lock_agent_leases(connection: Connection, agent_no: int, limit: int) -> list[LeasedJob]:
    return [LeasedJob(**row) for row in await connection.fetch(_SQL["lock_agent_leases"], agent_no, limit)]


async def agent_leases(connection: Connection, agent_no: int) -> list[AgentLease]:
    return [AgentLease(**row) for row in await connection.fetch(_SQL["agent_leases"], agent_no)]


async def touch_tasks(connection: Connection, task_ids: Sequence[UUID], now: datetime) -> None:
    await connection.execute(_SQL["touch_tasks"], list(task_ids), now)
