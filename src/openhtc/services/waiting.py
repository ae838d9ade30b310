"""Says of jobs that wait why no node can take them."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from msgspec.structs import replace

from openhtc.domain.enums import JobStatus, Priority
from openhtc.domain.placement import PRIORITY_NUMBERS, Needs, NodeKind, obstacle
from openhtc.domain.work import Capacity
from openhtc.services.clock import Clock
from openhtc.storage import clusters
from openhtc.storage.database import Connection
from openhtc.storage.jobs import Batch, Job

_REUSED_FOR = timedelta(seconds=2)
_CACHED_AT_MOST = 1000


class WaitingReasons:
    """Nodes come and go slowly and clients ask often: what is known of a project's nodes is reused for a moment."""

    def __init__(self, clock: Clock, *, strict_architecture: bool) -> None:
        self._clock = clock
        self._strict = strict_architecture
        self._nodes: dict[UUID, tuple[datetime, list[NodeKind]]] = {}

    async def explain(self, connection: Connection, found: Sequence[Job]) -> list[Job]:
        """The same jobs; those that are runnable have a reason where they rest or no live node could ever take them."""
        reasons: dict[int, str | None] = {}
        for job in found:
            if _waits(job) and job.batch_no not in reasons:
                nodes = await self._of_project(connection, job.batch.project_id)
                reasons[job.batch_no] = obstacle(_needs(job.batch), nodes, strict=self._strict)
        if not reasons:
            return list(found)
        return [
            replace(job, reason=reasons[job.batch_no] or _rest(job)) if _waits(job) else job for job in found
        ]

    async def _of_project(self, connection: Connection, project_id: UUID) -> list[NodeKind]:
        now = self._clock()
        known = self._nodes.get(project_id)
        if known is not None and abs(now - known[0]) < _REUSED_FOR:
            return known[1]
        nodes = await clusters.node_kinds(connection, project_id, now)
        if len(self._nodes) >= _CACHED_AT_MOST:
            self._nodes.clear()
        self._nodes[project_id] = (now, nodes)
        return nodes


def _waits(job: Job) -> bool:
    return job.job_status is JobStatus.RUNNABLE


def _rest(job: Job) -> str | None:
    if job.rests_until is None:
        return None
    until = job.rests_until + timedelta(seconds=1, microseconds=-1)  # not before, in whole seconds
    return f"waiting: attempt {job.attempt + 1} is to begin at {until:%FT%TZ} or later"


def _needs(batch: Batch) -> Needs:
    definition = batch.request["htcJobDefinition"]
    return Needs(
        region=batch.region,
        priority=PRIORITY_NUMBERS[Priority(definition["priority"])],
        architecture=definition.get("architecture"),
        amounts=Capacity(batch.vcpus, batch.memory_mib, batch.disk_gib),
    )
