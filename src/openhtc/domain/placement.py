"""Which jobs go to a node: a pure choice over what waits and what is free."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from openhtc.domain.enums import Priority
from openhtc.domain.work import Capacity

PRIORITY_NUMBERS = {Priority.ON_DEMAND_PRIORITY: 0, Priority.ON_DEMAND_ECONOMY: 1}
"""How the database writes a class; the lower number goes first."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A batch with runnable jobs."""

    batch: int
    project: str
    priority: int
    jobs: int
    needs: Capacity


@dataclass(frozen=True, slots=True)
class Needs:
    """What a waiting job asks of a node. ``architecture`` None: any will do."""

    region: str
    priority: int
    architecture: str | None
    amounts: Capacity


@dataclass(frozen=True, slots=True)
class NodeKind:
    """What one or more live nodes of a region have in common, as one project may use them."""

    region: str
    architecture: str
    capacity: Capacity
    priorities: frozenset[int]
    """The priority classes that the dimensions let go there."""


def fits(needs: Capacity, free: Capacity) -> int:
    """How many such jobs fit."""
    room = [
        available // needed
        for available, needed in (
            (free.vcpus, needs.vcpus),
            (free.memory_mib, needs.memory_mib),
            (free.disk_gib, needs.disk_gib),
        )
        if needed > 0
    ]
    return min(room)


def smaller(one: Capacity, other: Capacity) -> Capacity:
    """The smaller of the two in each resource."""
    return Capacity(
        min(one.vcpus, other.vcpus), min(one.memory_mib, other.memory_mib), min(one.disk_gib, other.disk_gib)
    )


def less(free: Capacity, needs: Capacity, n: int) -> Capacity:
    """What is left when n such jobs come; with a negative number, when they go."""
    return Capacity(
        free.vcpus - n * needs.vcpus,
        free.memory_mib - n * needs.memory_mib,
        free.disk_gib - n * needs.disk_gib,
    )


def choose(
    waiting: Sequence[Waiting], active_vcpus: Mapping[str, int], free: Capacity, max_jobs: int
) -> list[tuple[int, int]]:
    """Share a node's free capacity out; returns (batch, number of jobs).

    Priority classes in order; within one, the project with the fewest active vCPUs is served next, its
    oldest batch first. A step takes a quarter of what still fits for one project (all of it when only one
    project waits), so that a few steps share a node evenly.
    """
    held = dict(active_vcpus)
    taken: dict[int, int] = {}
    left = {item.batch: item.jobs for item in waiting}
    queue = sorted(waiting, key=lambda item: (item.priority, item.batch))
    while queue and max_jobs > 0:
        first_class = [item for item in queue if item.priority == queue[0].priority]
        item = min(first_class, key=lambda item: (held.get(item.project, 0), item.batch))
        alone = len({other.project for other in first_class}) == 1
        space = min(fits(item.needs, free), max_jobs)
        room = min(space, left[item.batch])
        n = room if alone else min(room, max(1, space // 4))
        if n > 0:
            taken[item.batch] = taken.get(item.batch, 0) + n
            left[item.batch] -= n
            max_jobs -= n
            free = less(free, item.needs, n)
            held[item.project] = held.get(item.project, 0) + n * item.needs.vcpus
        if room <= n:
            queue.remove(item)
    return list(taken.items())


def obstacle(needs: Needs, nodes: Sequence[NodeKind], *, strict: bool) -> str | None:
    """Why no live node can ever take such a job, for its user to read; None when one can.

    ``strict``: a job that asks for an architecture never runs on another one.
    """
    here = [node for node in nodes if node.region == needs.region]
    if not here:
        return f"waiting: {needs.region} has no live node"
    left = [node for node in here if needs.priority in node.priorities]
    if not left:
        return f"waiting: the dimensions allow no live node of {needs.region} for jobs of this priority"
    native = any(node.architecture == needs.architecture for node in here)
    if needs.architecture is not None and (strict or native):
        left = [node for node in left if node.architecture == needs.architecture]
        if not left:
            also = " and is in the dimensions" if native else ""
            return f"waiting: no live node of {needs.region} has the architecture {needs.architecture}{also}"
    which = needs.region if len(left) == len(here) else f"{needs.region} that this job may use"
    return _shortage(needs.amounts, left, f"waiting: no live node of {which} has")


def _shortage(needs: Capacity, nodes: Sequence[NodeKind], start: str) -> str | None:
    """Which amount none of the nodes has."""
    wanted = _amounts(needs)
    for name, amount in wanted.items():
        largest = max(_amounts(node.capacity)[name] for node in nodes)
        if amount > largest:
            return f"{start} {amount} {name}, the largest has {largest}"
    if any(fits(needs, node.capacity) for node in nodes):
        return None
    return f"{start} {', '.join(f'{amount} {name}' for name, amount in wanted.items())} together"


def _amounts(capacity: Capacity) -> dict[str, int]:
    """By the words that a user reads."""
    return {
        "vCPUs": capacity.vcpus,
        "MiB of memory": capacity.memory_mib,
        "GiB of disk": capacity.disk_gib,
    }
