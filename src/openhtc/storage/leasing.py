"""Agents, leases and what agents report: the statements that move jobs."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from openhtc.domain.placement import Waiting
from openhtc.domain.work import AgentHello, Capacity
from openhtc.storage.database import Connection
from openhtc.storage.queries import load

_SQL = load("leasing")


class Granted(msgspec.Struct, frozen=True, gc=False):
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


class LeasedJob(msgspec.Struct, frozen=True, gc=False):
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


class AgentLease(msgspec.Struct, frozen=True, gc=False):
    batch_no: int
    idx: int
    lease: int
    leased_at: datetime
    cancelled_at: datetime | None
    recalled_at: datetime | None


@dataclass(frozen=True, slots=True)
class Node:
    """What a live agent's node is and offers in all."""

    capacity: Capacity
    regions: list[str]
    machine_type: str
    architecture: str
    hyperthreading: bool


async def insert_agent(
    connection: Connection,
    hello: AgentHello,
    key_id: UUID | None,
    now: datetime,
    expires_at: datetime,
    former_no: int | None = None,
) -> int:
    """``key_id`` is the agent key that opened the session; ``former_no`` the life that this one proves to follow."""
    await connection.execute(
        _SQL["note_machine_type"],
        hello.machine_type,
        hello.architecture,
        hello.hyperthreading,
        hello.capacity.vcpus,
        hello.capacity.memory_mib,
        now,
    )
    number: int = await connection.fetchval(
        _SQL["insert_agent"],
        hello.name,
        list(dict.fromkeys(hello.regions)),
        hello.architecture,
        hello.runtime,
        hello.version,
        hello.provider,
        hello.machine_type,
        hello.hyperthreading,
        key_id,
        hello.capacity.vcpus,
        hello.capacity.memory_mib,
        hello.capacity.disk_gib,
        now,
        expires_at,
        former_no,
    )
    return number


async def renew_agent(
    connection: Connection, agent_no: int, now: datetime, expires_at: datetime, *, stopping: bool = False
) -> list[str] | None:
    """The agent's regions; None when it was given up and must open a new session. ``stopping``: no more work for it."""
    regions: list[str] | None = await connection.fetchval(
        _SQL["renew_agent"], agent_no, now, expires_at, stopping
    )
    return regions


async def lives_of_agent(connection: Connection, agent_no: int) -> set[int]:
    """This life and those before and after it."""
    return {row["agent_no"] for row in await connection.fetch(_SQL["lives_of_agent"], agent_no)}


async def hold_agent(connection: Connection, agent_no: int, now: datetime) -> Node | None:
    """The node of a live agent, which cannot be given up before the transaction ends; None for others."""
    row = await connection.fetchrow(_SQL["hold_agent"], agent_no, now)
    if row is None:
        return None
    return Node(
        capacity=Capacity(row["vcpus"], row["memory_mib"], row["disk_gib"]),
        regions=row["regions"],
        machine_type=row["machine_type"],
        architecture=row["architecture"],
        hyperthreading=row["hyperthreading"],
    )


async def expired_agents(connection: Connection, now: datetime, limit: int) -> list[int]:
    return [row["agent_no"] for row in await connection.fetch(_SQL["expired_agents"], now, limit)]


async def end_agent(connection: Connection, agent_no: int, now: datetime) -> None:
    await connection.execute(_SQL["end_agent"], agent_no, now)


async def native_architectures(connection: Connection, now: datetime) -> list[str]:
    """``region architecture`` for every architecture that a live node of the region has."""
    return [row[0] for row in await connection.fetch(_SQL["native_architectures"], now)]


async def waiting_batches(
    connection: Connection, node: Node, free: Capacity, native: Sequence[str], *, strict: bool
) -> list[Waiting]:
    """Batches that the node may run now. With ``strict``, only those that ask for its architecture or for none;
    otherwise also those whose architecture is not among ``native`` in their region.
    """
    rows = await connection.fetch(
        _SQL["waiting_batches"],
        node.regions,
        free.vcpus,
        free.memory_mib,
        free.disk_gib,
        node.machine_type,
        node.architecture,
        list(native),
        strict,
        node.hyperthreading,
    )
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


async def agent_leases(connection: Connection, agent_no: int, *, marked: bool = False) -> list[AgentLease]:
    """The agent's live leases; with ``marked`` only those of cancelled and recalled jobs."""
    statement = _SQL["marked_leases" if marked else "agent_leases"]
    return [AgentLease(**row) for row in await connection.fetch(statement, agent_no)]


async def touch_tasks(connection: Connection, task_ids: Sequence[UUID], now: datetime) -> None:
    await connection.execute(_SQL["touch_tasks"], list(task_ids), now)
