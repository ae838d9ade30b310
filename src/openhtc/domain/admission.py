"""Which held jobs are released: a pure choice over what waits and what the limits leave room for."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Held:
    """A batch with held jobs of ``vcpus`` each. A lower priority number goes first."""

    batch: int
    project: str
    priority: int
    jobs: int
    vcpus: int


@dataclass(frozen=True, slots=True)
class Room:
    """vCPUs of released jobs, and how many there may be at most; None: any number."""

    active: int
    limit: int | None

    def fits(self, vcpus: int) -> int | None:
        """How many more jobs of so many vCPUs; None: any number."""
        return None if self.limit is None else max(self.limit - self.active, 0) // vcpus

    def never(self, vcpus: int) -> bool:
        """Whether such a job is too large even with nothing else released."""
        return self.limit is not None and vcpus > self.limit

    def taken(self, vcpus: int) -> "Room":
        return Room(self.active + vcpus, self.limit)


def release(
    held: Sequence[Held], projects: Mapping[str, Room], workspace: Room, max_jobs: int
) -> list[tuple[int, int]]:
    """(batch, number of jobs) to release; no limit is exceeded by it.

    The project with the fewest active vCPUs is next, and in it the highest priority, then the oldest batch. A
    project whose next job does not fit its own limit waits for itself alone. When the next job of the project
    whose turn it is does not fit the workspace's limit, everybody waits, so that small jobs do not keep large
    ones out. Jobs that are larger than a limit can never be released; they are in nobody's way.
    """
    queues = _queues(held, projects, workspace)
    rooms = dict(projects)
    given: dict[int, int] = {}
    while queues and max_jobs > 0:
        project = min(queues, key=lambda name: (rooms[name].active, queues[name][0].batch))
        head = queues[project][0]
        own, shared = rooms[project].fits(head.vcpus), workspace.fits(head.vcpus)
        if shared == 0:
            break
        fit = _smallest(own, shared, head.jobs, max_jobs)
        n = fit if len(queues) == 1 else min(fit, max(1, fit // 4))
        if n > 0:
            given[head.batch] = given.get(head.batch, 0) + n
            max_jobs -= n
            rooms[project] = rooms[project].taken(n * head.vcpus)
            workspace = workspace.taken(n * head.vcpus)
        _advance(queues, project, head, n, full=own is not None and n == own)
    return list(given.items())


def _queues(held: Sequence[Held], projects: Mapping[str, Room], workspace: Room) -> dict[str, deque[Held]]:
    queues: dict[str, deque[Held]] = {}
    for item in sorted(held, key=lambda item: (item.priority, item.batch)):
        if not workspace.never(item.vcpus) and not projects[item.project].never(item.vcpus):
            queues.setdefault(item.project, deque()).append(item)
    return queues


def _smallest(own: int | None, shared: int | None, *others: int) -> int:
    return min(value for value in (own, shared, *others) if value is not None)


def _advance(queues: dict[str, deque[Held]], project: str, head: Held, n: int, *, full: bool) -> None:
    """Take ``n`` jobs off the head of a project's queue; a project that is full leaves."""
    queue = queues[project]
    queue.popleft()
    if n < head.jobs:
        queue.appendleft(Held(head.batch, head.project, head.priority, head.jobs - n, head.vcpus))
    if not queue or (full and n < head.jobs):
        del queues[project]
