"""Which jobs make room for those of a higher priority: a pure choice over what runs where and what waits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from openhtc.domain.placement import fits, less
from openhtc.domain.work import Capacity

MAX_PREEMPTIONS = 10
"""A job that made room so often keeps its place, so that it ends at last."""


@dataclass(frozen=True, slots=True)
class Held:
    """A leased job that may have to make room."""

    lease: int
    needs: Capacity
    started_at: datetime | None
    """None while its program has not begun: nothing is lost with it."""


@dataclass(frozen=True, slots=True)
class Load:
    """A live node. ``free`` counts what is being given back already; it is negative where more is leased than fits."""

    agent: int
    free: Capacity
    held: Sequence[Held]
    """Jobs that may have to make room."""
    coming: bool = False
    """Some of the free room is only being given back. Room that was there all the time is none: had the node wanted the
    jobs that wait, it would have taken them.
    """


@dataclass(frozen=True, slots=True)
class Pressing:
    """A batch with jobs of a higher priority that have waited long enough. ``agents`` may run them."""

    batch: int
    jobs: int
    needs: Capacity
    agents: frozenset[int]


def recall(pressing: Sequence[Pressing], loads: Sequence[Load], now: datetime, most: int) -> list[int]:
    """The leases to take back, at most about ``most``, so that as many of the pressing jobs fit as can.

    A pressing job goes first to room that is coming. For the others, a node gives back as few as will
    do, those that lose the least work first; of all nodes the one where least work is lost.
    """
    nodes = {load.agent: _Node(load, now) for load in loads}
    recalled: list[int] = []
    for item in sorted(pressing, key=lambda item: item.batch):
        allowed = [nodes[agent] for agent in sorted(item.agents) if agent in nodes]
        for _ in range(item.jobs):
            found = _place(item.needs, allowed)
            if found is None:
                break
            node, leaving = found
            node.give(item.needs, leaving)
            recalled += [job.lease for job in leaving]
            if len(recalled) >= most:
                return recalled
    return recalled


class _Node:
    def __init__(self, load: Load, now: datetime) -> None:
        self.free = load.free
        self.coming = load.coming
        self.held = sorted(load.held, key=lambda job: (_lost(job, now), job.lease))
        self.now = now

    def leaving_for(self, needs: Capacity) -> list[Held] | None:
        """The jobs that must leave for one that needs so much; None when even all of them would not do."""
        leaving: list[Held] = []
        free = self.free
        for job in self.held:
            if fits(needs, free) > 0:
                break
            leaving.append(job)
            free = less(free, job.needs, -1)
        if fits(needs, free) <= 0:
            return None
        for job in reversed(leaving):  # what was taken first may have been for nothing
            without = less(free, job.needs, 1)
            if fits(needs, without) > 0:
                leaving.remove(job)
                free = without
        return leaving

    def give(self, needs: Capacity, leaving: Sequence[Held]) -> None:
        self.coming = self.coming or bool(leaving)
        for job in leaving:
            self.free = less(self.free, job.needs, -1)
            self.held.remove(job)
        self.free = less(self.free, needs, 1)


def _place(needs: Capacity, nodes: Sequence[_Node]) -> tuple[_Node, list[Held]] | None:
    best: tuple[float, int, int] | None = None
    found: tuple[_Node, list[Held]] | None = None
    for n, node in enumerate(nodes):
        leaving = node.leaving_for(needs)
        if leaving is None or (not leaving and not node.coming):
            continue
        cost = (sum(_lost(job, node.now) for job in leaving), len(leaving), n)
        if best is None or cost < best:
            best, found = cost, (node, leaving)
        if not leaving:
            break
    return found


def _lost(job: Held, now: datetime) -> float:
    """vCPU seconds of work that are done again."""
    return (
        0.0 if job.started_at is None else max(0.0, (now - job.started_at).total_seconds()) * job.needs.vcpus
    )


def free_of(capacity: Capacity, used: Sequence[Capacity]) -> Capacity:
    """What is left of a node."""
    for needs in used:
        capacity = less(capacity, needs, 1)
    return capacity


def by_agent(found: Mapping[int, Sequence[tuple[int, int, Capacity]]]) -> list[Pressing]:
    """From the (batch, jobs, needs) that each agent may run to the batches with the agents that may run them."""
    batches: dict[int, tuple[int, Capacity, set[int]]] = {}
    for agent, items in found.items():
        for batch, jobs, needs in items:
            batches.setdefault(batch, (jobs, needs, set()))[2].add(agent)
    return [
        Pressing(batch, jobs, needs, frozenset(agents)) for batch, (jobs, needs, agents) in batches.items()
    ]
