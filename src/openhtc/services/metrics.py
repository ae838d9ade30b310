"""Metrics in Prometheus' text format: of one workspace for its users, of the whole installation for its operator."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import inf
from uuid import UUID

import openhtc
from openhtc.domain.enums import JobStatus
from openhtc.domain.exposition import Family, Kind, exposition, labels
from openhtc.domain.identity import Caller
from openhtc.domain.metrics import MEBIBYTES, MIB, SECONDS, Counters, counters
from openhtc.domain.permissions import Operation, permit
from openhtc.services.clock import Clock
from openhtc.storage import metrics
from openhtc.storage.database import Connection, Database
from openhtc.storage.metrics import Installation, LiveNodes, MeasuredProject, Place, SetLimit

_MEMORY = [str(mib * MIB) for mib in MEBIBYTES]


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """What was read for one answer. Ages are counted up to ``now``."""

    now: datetime
    projects: Sequence[MeasuredProject]
    limits: Sequence[SetLimit]
    counters: Mapping[Place, Counters]
    waiting_since: Mapping[Place, datetime]
    held_since: Mapping[UUID, datetime]

    def age(self, since: datetime | None) -> float:
        return 0 if since is None else max(0, (self.now - since).total_seconds())


class Metrics:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def of_workspace(self, caller: Caller) -> str:
        permit(caller, Operation.READ_WORKSPACE)
        async with self._database.connection() as connection:
            snapshot = await self._read(connection, caller.user.workspace_id)
        # Thousands of projects take a while; other requests go on meanwhile.
        return await asyncio.to_thread(lambda: exposition(_families(snapshot)))

    async def of_installation(self) -> str:
        """All workspaces, the nodes and the service itself."""
        async with self._database.connection() as connection:
            snapshot = await self._read(connection, None)
            nodes = await metrics.live_nodes(connection, snapshot.now)
            whole = await metrics.installation(connection, snapshot.now)

        def families() -> Iterator[Family]:
            yield from _of_service(snapshot, whole)
            yield from _of_regions(snapshot, nodes)
            yield from _families(snapshot)

        return await asyncio.to_thread(lambda: exposition(families()))

    async def _read(self, connection: Connection, workspace_id: str | None) -> _Snapshot:
        now = self._clock()
        projects = await metrics.list_projects(connection, workspace_id)
        sums = await metrics.sum_counters(connection, [project.id for project in projects])
        counted = {place: counters(numbers) for place, numbers in sums.items()}
        waiting = [place for place, found in counted.items() if found.jobs[JobStatus.RUNNABLE] > 0]
        holding = {
            place[0] for place, found in counted.items() if found.jobs[JobStatus.SUBMITTED_TO_RESCALE] > 0
        }
        return _Snapshot(
            now=now,
            projects=projects,
            limits=await metrics.list_limits(connection, workspace_id),
            counters=counted,
            waiting_since=await metrics.waiting_since(connection, waiting),
            held_since=await metrics.held_since(connection, [p for p in projects if p.id in holding]),
        )


def _families(snapshot: _Snapshot) -> Iterator[Family]:
    of_project = {
        project.id: labels(
            workspace_id=project.workspace_id, project_id=str(project.id), project_name=project.name
        )
        for project in snapshot.projects
    }
    yield from _of_limits(snapshot, of_project)
    places = [
        (
            f"{of_project[project]},{labels(region=region)}",
            found,
            snapshot.waiting_since.get((project, region)),
        )
        for (project, region), found in snapshot.counters.items()
    ]
    yield from _of_queues(snapshot, places)
    yield from _of_counts([(labelled, found) for labelled, found, _ in places])
    yield from _of_durations([(labelled, found) for labelled, found, _ in places])


def _of_limits(snapshot: _Snapshot, of_project: Mapping[UUID, str]) -> Iterator[Family]:
    limit = Family(
        "htc_job_limit_vcpus",
        Kind.GAUGE,
        "The smallest vCPU limit that holds for the project, its own or its workspace's; +Inf without any.",
    )
    active = Family(
        "htc_job_active_vcpus",
        Kind.GAUGE,
        "vCPUs of the project's released, unfinished jobs, in all regions: what limits are held against.",
    )
    held = Family(
        "htc_job_held_age_seconds",
        Kind.GAUGE,
        "Age of the project's oldest job that a limit holds back; 0 without any.",
    )
    used: dict[UUID, int] = {}
    for (project_id, _), found in snapshot.counters.items():
        used[project_id] = used.get(project_id, 0) + found.active_vcpus
    for project in snapshot.projects:
        labelled = of_project[project.id]
        limit.add(labelled, inf if project.smallest_limit is None else project.smallest_limit)
        active.add(labelled, used.get(project.id, 0))
        held.add(labelled, snapshot.age(snapshot.held_since.get(project.id)))
    yield from (limit, active, held)
    yield from _of_set_limits(snapshot.limits, of_project)


def _of_set_limits(limits: Sequence[SetLimit], of_project: Mapping[UUID, str]) -> Iterator[Family]:
    own = Family("htc_project_limit_vcpus", Kind.GAUGE, "A vCPU limit that is set for the project, by role.")
    workspace = Family(
        "htc_workspace_limit_vcpus", Kind.GAUGE, "The vCPU limit that is set for the workspace."
    )
    for limit in limits:
        if limit.project_id is None:
            workspace.add(labels(workspace_id=limit.workspace_id), limit.vcpus)
        elif limit.project_id in of_project:
            role = labels(modifier_role=limit.modifier_role or "")
            own.add(f"{of_project[limit.project_id]},{role}", limit.vcpus)
    yield from (own, workspace)


def _of_queues(
    snapshot: _Snapshot, places: Sequence[tuple[str, Counters, datetime | None]]
) -> Iterator[Family]:
    jobs = Family("htc_jobs", Kind.GAUGE, "Jobs that there are, by status.")
    vcpus = Family("htc_job_vcpus", Kind.GAUGE, "vCPUs that unfinished jobs ask for, by status.")
    age = Family(
        "htc_job_queue_age_seconds",
        Kind.GAUGE,
        "How long the RUNNABLE job that waits longest has waited for a node; 0 without any.",
    )
    for labelled, found, since in places:
        for status, count in found.jobs.items():
            jobs.add(f'{labelled},status="{status}"', count)
        for status, count in found.vcpus.items():
            vcpus.add(f'{labelled},status="{status}"', count)
        age.add(labelled, snapshot.age(since))
    yield from (jobs, vcpus, age)


def _of_counts(places: Sequence[tuple[str, Counters]]) -> Iterator[Family]:
    starts = Family("htc_job_starts_total", Kind.COUNTER, "Attempts whose program was started.")
    ends = Family("htc_job_ends_total", Kind.COUNTER, "Jobs that ended, by result and failure code.")
    requeues = Family(
        "htc_job_requeues_total", Kind.COUNTER, "Attempts that did not end their job, by how they ended."
    )
    for labelled, found in places:
        starts.add(labelled, found.starts)
        ends.add(f'{labelled},result="succeeded",code=""', found.succeeded)
        ends.add(f'{labelled},result="cancelled",code=""', found.cancelled)
        for code, count in found.failed.items():
            ends.add(f'{labelled},result="failed",code="{code}"', count)
        for outcome, count in found.requeued.items():
            requeues.add(f'{labelled},outcome="{outcome}"', count)
    yield from (starts, ends, requeues)


def _of_durations(places: Sequence[tuple[str, Counters]]) -> Iterator[Family]:
    waits = Family("htc_job_wait_seconds", Kind.HISTOGRAM, "How long attempts waited from queue to node.")
    runs = Family("htc_job_run_seconds", Kind.HISTOGRAM, "How long the attempts ran that ended their job.")
    memory = Family(
        "htc_job_max_memory_bytes", Kind.HISTOGRAM, "Memory peaks of the attempts that ended their job."
    )
    for labelled, found in places:
        waits.add_histogram(labelled, SECONDS, found.waits)
        runs.add_histogram(labelled, SECONDS, found.runs)
        memory.add_histogram(labelled, _MEMORY, found.memory)
    yield from (waits, runs, memory)


def _of_service(snapshot: _Snapshot, whole: Installation) -> Iterator[Family]:
    since = whole.keeper_since
    for name, kind, help_, labelled, value in (
        ("htc_build_info", Kind.GAUGE, "The release that answers.", labels(version=openhtc.__version__), 1),
        ("htc_schema_version", Kind.GAUGE, "Version of the database's schema.", "", whole.schema_version),
        ("htc_database_bytes", Kind.GAUGE, "Size of the database on disk.", "", whole.database_bytes),
        ("htc_agents", Kind.GAUGE, "Agents that live, one on each node.", "", whole.nodes),
        ("htc_agents_expired_total", Kind.COUNTER, "Agents that were given up.", "", whole.expired),
        (
            "htc_keepers",
            Kind.GAUGE,
            "Servers that run the periodic duties; 1 is right.",
            "",
            int(since is not None),
        ),
        ("htc_keeper_age_seconds", Kind.GAUGE, "How long that server leads.", "", snapshot.age(since)),
    ):
        family = Family(name, kind, help_)
        family.add(labelled, value)
        yield family


def _of_regions(snapshot: _Snapshot, pools: Sequence[LiveNodes]) -> Iterator[Family]:
    nodes = Family("htc_nodes", Kind.GAUGE, "Live nodes; one of several regions is in each of them.")
    offered = Family("htc_node_vcpus", Kind.GAUGE, "vCPUs that live nodes offer; see htc_nodes.")
    leases = Family("htc_leases", Kind.GAUGE, "Jobs that nodes hold.")
    leased = Family("htc_leased_vcpus", Kind.GAUGE, "vCPUs of the jobs that nodes hold.")
    for pool in pools:
        labelled = labels(provider=pool.provider, region=pool.region)
        nodes.add(labelled, pool.nodes)
        offered.add(labelled, pool.vcpus)
    held: dict[str, tuple[int, int]] = {pool.region: (0, 0) for pool in pools}
    for (_, region), found in snapshot.counters.items():
        jobs, vcpus = held.get(region, (0, 0))
        held[region] = jobs + found.leases, vcpus + found.leased_vcpus
    for region, (jobs, vcpus) in sorted(held.items()):
        leases.add(labels(region=region), jobs)
        leased.add(labels(region=region), vcpus)
    yield from (nodes, offered, leases, leased)
