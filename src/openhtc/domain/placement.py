"""Which jobs go to a node: a pure choice over what waits and what is free."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from openhtc.domain.work import Capacity


@dataclass(frozen=True, slots=True)
class Waiting:
    """A batch with runnable jobs. A lower priority number goes first."""

    batch: int
    project: str
    priority: int
    jobs: int
    needs: Capacity


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


def _less(free: Capacity, needs: Capacity, n: int) -> Capacity:
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
            free = _less(free, item.needs, n)
            held[item.project] = held.get(item.project, 0) + n * item.needs.vcpus
        if room <= n:
            queue.remove(item)
    return list(taken.items())
