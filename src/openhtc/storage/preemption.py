"""What runs on nodes where jobs of a higher priority wait for room."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from openhtc.domain.preemption import MAX_PREEMPTIONS, Held, Load, free_of
from openhtc.domain.work import Capacity
from openhtc.storage.database import Connection
from openhtc.storage.leasing import Node
from openhtc.storage.queries import load

_SQL = load("preemption")


@dataclass(frozen=True, slots=True)
class BusyNode:
    agent: int
    node: Node


async def may_press(connection: Connection) -> bool:
    """Whether there may be anything to do."""
    return bool(await connection.fetchval(_SQL["may_press"]))


async def nodes_with_room_to_make(
    connection: Connection, now: datetime, recalled_after: datetime, limit: int
) -> list[BusyNode]:
    """``recalled_after`` as for ``loads``."""
    rows = await connection.fetch(_SQL["nodes_with_room_to_make"], now, recalled_after, limit)
    return [
        BusyNode(
            row["agent_no"],
            Node(
                capacity=Capacity(row["vcpus"], row["memory_mib"], row["disk_gib"]),
                regions=row["regions"],
                machine_type=row["machine_type"],
                architecture=row["architecture"],
                hyperthreading=row["hyperthreading"],
            ),
        )
        for row in rows
    ]


async def loads(connection: Connection, nodes: Sequence[BusyNode], recalled_after: datetime) -> list[Load]:
    """``recalled_after``: a node that was told before and has not given its job back is not waited for."""
    agents = [node.agent for node in nodes]
    rows = await connection.fetch(_SQL["jobs_of_nodes"], agents, recalled_after, MAX_PREEMPTIONS)
    coming = {row["agent_no"] for row in rows if row["leaving"]}
    used: dict[int, list[Capacity]] = {agent: [] for agent in agents}
    held: dict[int, list[Held]] = {agent: [] for agent in agents}
    for row in rows:
        needs = Capacity(row["vcpus"], row["memory_mib"], row["disk_gib"])
        if not row["leaving"]:
            used[row["agent_no"]].append(needs)
            if not row["steady"]:
                held[row["agent_no"]].append(Held(row["lease"], needs, row["started_at"]))
    return [
        Load(
            node.agent,
            free_of(node.node.capacity, used[node.agent]),
            held[node.agent],
            coming=node.agent in coming,
        )
        for node in nodes
    ]


async def waited_since(connection: Connection, batch_nos: Sequence[int], since: datetime) -> set[int]:
    """The batches among the given ones with a job that has waited since then."""
    rows = await connection.fetch(_SQL["waited_since"], list(batch_nos), since)
    return {row["batch_no"] for row in rows}


async def recall_jobs(
    connection: Connection, agents: Sequence[int], leases: Sequence[int], now: datetime
) -> int:
    """Ask their agents, with the next report, to give these jobs back; returns how many jobs that are."""
    done = await connection.execute(_SQL["recall_jobs"], list(agents), list(leases), now)
    return int(done.rpartition(" ")[2])
