"""Users, projects, tasks, batches and agents for tests: a caller states only what matters to it."""

import asyncio
import itertools
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec

from openhtc.domain.attempts import LONGEST_REST_SECONDS
from openhtc.domain.enums import Architecture, Outcome, Priority
from openhtc.domain.identity import Caller, User
from openhtc.domain.retention import JOBS_KEPT
from openhtc.domain.submission import ClaimPair, EnvPair, JobDefinition, JobSubmitRequest, RetryStrategy
from openhtc.domain.work import AgentHello, Capacity, JobReport, LogChunk, Report, ReportAnswer
from openhtc.services.admission import Admission
from openhtc.services.cancelling import Cancelling
from openhtc.services.clock import micros
from openhtc.services.duties import LeaseExpiry, RestEnd
from openhtc.services.reports import Reports
from openhtc.storage import identity, jobs, leasing, limits, projects
from openhtc.storage.database import Database
from openhtc.storage.identity import UserRow
from openhtc.storage.jobs import NewBatch
from openhtc.storage.leasing import Granted
from openhtc.storage.regions import MappedRegion, set_region
from openhtc.storage.transitions import end_rests

SECRET_KEY = "a secret for tests"
REGION = "AWS_US_WEST_2"
LEASE_SECONDS = 30
DIGEST = "sha256:" + "ab" * 32
STATUS_COLUMNS = (
    "submitted_to_rescale",
    "submitted_to_provider",
    "runnable",
    "starting",
    "running",
    "succeeded",
    "failed",
)


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def step(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def micros(self, seconds: float = 0) -> int:
        return micros(self.now + timedelta(seconds=seconds))


@dataclass(frozen=True)
class Task:
    id: UUID
    project: UUID
    user: str
    workspace: str


@dataclass(frozen=True)
class Batch:
    no: int
    id: UUID
    size: int
    task: Task
    group: str


@dataclass
class World:
    """The core of a server on one database, driven by one clock."""

    database: Database
    clock: Clock
    _number: "itertools.count[int]" = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.reports = Reports(self.database, self.clock, LEASE_SECONDS)
        self.expiry = LeaseExpiry(self.database, self.clock, LEASE_SECONDS)
        self.rest_end = RestEnd(self.database, self.clock)
        self.cancelling = Cancelling(self.database, self.clock)
        self.admission = Admission(self.database, self.clock)

    async def user(
        self, workspace: str = "10-1000000", *, admin: bool = False, regions: tuple[str, ...] = (REGION,)
    ) -> User:
        """A new user; the workspace is made with its first one."""
        n = next(self._number)
        async with self.database.transaction() as connection:
            await identity.insert_organization(connection, "org", "org")
            known = {found.id for found in await identity.list_workspaces(connection)}
            if workspace not in known:
                for region in regions:
                    mapped = MappedRegion(region, "local", True, 1.0, ["X86"], "test", self.clock())
                    await set_region(connection, mapped)
                await identity.insert_workspace(connection, workspace, f"ws {workspace}", "org", regions)
            row = UserRow(f"user{n}", workspace, f"user{n}@example.org", f"User {n}", admin, False, False)
            await identity.insert_user(connection, row)
            found = await identity.find_user(connection, row.id)
        assert found is not None
        return found

    async def task(self, user: User | None = None, project: UUID | None = None) -> Task:
        """A task, in a project of its own unless one is given."""
        owner = await self.user() if user is None else user
        now = self.clock()
        async with self.database.transaction() as connection:
            if project is None:
                project = uuid4()
                await projects.insert_project(
                    connection,
                    projects.Project(
                        project, 0, owner.workspace_id, "p", "", [REGION], owner.id, now, "org", []
                    ),
                )
            task = projects.Task(
                uuid4(), 0, project, "t", "", owner.id, now, now, None, None, owner.workspace_id
            )
            await projects.insert_task(connection, task)
        return Task(task.id, project, owner.id, owner.workspace_id)

    async def batch(self, task: Task, size: int = 1, **facts: Any) -> Batch:
        return (await self.batches(task, [size], **facts))[0]

    async def batches(self, task: Task, sizes: list[int], *, held: bool = False, **facts: Any) -> list[Batch]:
        """One submission: a batch of each size, in one transaction; runnable at once unless ``held``."""
        fresh = [self.new_batch(task, size, **facts) for size in sizes]

        async def store(connection: Any) -> list[int]:
            await projects.hold_task(connection, task.id)
            numbers = await jobs.insert_batches(connection, fresh)
            await jobs.insert_jobs(connection, numbers, sizes, None if held else self.clock())
            await leasing.touch_tasks(connection, [task.id], self.clock())
            return numbers

        numbers = await self.database.run(store)
        return [
            Batch(no, new.id, new.size, task, new.group_label) for no, new in zip(numbers, fresh, strict=True)
        ]

    def new_batch(
        self,
        task: Task,
        size: int = 1,
        *,
        group: str = "",
        region: str = REGION,
        economy: bool = False,
        vcpus: int = 1,
        memory_mib: int = 100,
        disk_gib: int = 0,
        max_retries: int = 0,
        timeout: int = 3600,
        envs: tuple[tuple[str, str], ...] = (),
        claims: tuple[tuple[str, str], ...] = (),
        commands: tuple[str, ...] = ("true",),
        created_by: str | None = None,
        architecture: str | None = None,
    ) -> NewBatch:
        definition = JobDefinition(
            image_name="app:v1",
            max_vcpus=vcpus,
            max_memory=memory_mib,
            max_disk_gib=disk_gib,
            exec_timeout_seconds=timeout,
            commands=list(commands),
            envs=[EnvPair(name, value) for name, value in envs],
            claims=[ClaimPair(name, value) for name, value in claims],
            priority=Priority.ON_DEMAND_ECONOMY if economy else Priority.ON_DEMAND_PRIORITY,
            architecture=msgspec.UNSET if architecture is None else Architecture(architecture),
        )
        request = JobSubmitRequest(
            definition, batch_size=size, retry_strategy=RetryStrategy(max_retries=max_retries), group=group
        )
        return NewBatch(
            id=uuid4(),
            task_id=task.id,
            project_id=task.project,
            workspace_id=task.workspace,
            group_label=group,
            created_by=created_by or task.user,
            created_at=self.clock(),
            size=size,
            request=msgspec.to_builtins(request),
            region=region,
            priority=int(economy),
            architecture=architecture,
            repository=f"aws.com/{task.project}/app",
            digest=DIGEST,
            vcpus=vcpus,
            memory_mib=memory_mib,
            disk_gib=disk_gib,
            exec_timeout_seconds=timeout,
            max_retries=max_retries,
            purge_at=self.clock() + JOBS_KEPT,
        )

    async def agent(
        self, *, vcpus: int = 1000, region: str = REGION, former: int | None = None, **facts: Any
    ) -> int:
        """The number of a new agent that was heard from just now; ``facts`` are members of AgentHello."""
        hello = AgentHello("node", [region], Capacity(vcpus, 10**6, 10**4), "X86", "bubblewrap", "0")
        hello = msgspec.structs.replace(hello, **facts)
        now = self.clock()
        expires = now + timedelta(seconds=LEASE_SECONDS)
        async with self.database.transaction() as connection:
            return await leasing.insert_agent(connection, hello, None, now, expires, former)

    async def grant(self, agent: int, *shares: tuple[Batch, int]) -> list[Granted]:
        """Leases jobs of the named batches without a choice."""
        wanted = [(batch.no, n) for batch, n in shares]
        granted = await self.database.run(
            lambda connection: leasing.lease_jobs(connection, wanted, agent, self.clock())
        )
        return sorted(granted, key=lambda g: (g.batch_no, g.idx))

    async def end_rests(self) -> int:
        """As if the longest rest had passed."""
        longest = timedelta(seconds=LONGEST_REST_SECONDS)
        return await self.database.run(
            lambda connection: end_rests(connection, self.clock() + longest, longest, 1000)
        )

    async def report(self, agent: int, *items: JobReport | LogChunk, **facts: Any) -> ReportAnswer:
        news = [item for item in items if isinstance(item, JobReport)]
        chunks = [item for item in items if isinstance(item, LogChunk)]
        return await self.reports.apply(agent, Report(news, chunks, **facts))

    def start(self, grant: Granted, at: float = 0) -> JobReport:
        """``at`` is in seconds from now."""
        return JobReport(grant.lease, grant.batch_no, grant.idx, started_at=self.clock.micros(at))

    def end(
        self, grant: Granted, outcome: Outcome = Outcome.EXITED, exit_code: int | None = 0, at: float = 0
    ) -> JobReport:
        code = exit_code if outcome is Outcome.EXITED else None
        return JobReport(
            grant.lease,
            grant.batch_no,
            grant.idx,
            ended_at=self.clock.micros(at),
            outcome=outcome,
            exit_code=code,
        )

    async def cancel(self, task: Task, group: str | None = None, owner: str | None = None) -> None:
        await self.database.run(lambda connection: self.cancelling.mark(connection, task.id, group, owner))
        await self.cancelling.begin(task.id)

    async def limit(self, task: Task, vcpus: int | None) -> None:
        """Set the limit of the task's project, or remove it; nothing is released."""
        async with self.database.transaction() as connection:
            found = await limits.project_limits(connection, task.project)
            if vcpus is None:
                await limits.remove_limits(connection, [limit.id for limit in found])
            else:
                await limits.put_limit(
                    connection, task.workspace, task.project, "PROJECT_ADMIN", vcpus, task.user, self.clock()
                )

    async def job(self, batch: Batch, index: int = 0) -> dict[str, Any]:
        """The row of a job."""
        async with self.database.connection() as connection:
            row = await connection.fetchrow(
                "SELECT * FROM jobs WHERE batch_no = $1 AND idx = $2", batch.no, index
            )
        assert row is not None
        return dict(row)

    async def rows(self, statement: str, *arguments: object) -> list[dict[str, Any]]:
        async with self.database.connection() as connection:
            return [dict(row) for row in await connection.fetch(statement, *arguments)]

    async def statuses(self, batch: Batch) -> list[int]:
        found = await self.rows("SELECT status FROM jobs WHERE batch_no = $1 ORDER BY idx", batch.no)
        return [row["status"] for row in found]

    async def check_counters(self) -> None:
        """Invariant 4: counters equal a recount."""
        async with self.database.transaction() as connection:
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            counted = await connection.fetch(_COUNTED)
            recounted = await connection.fetch(_RECOUNTED)
            wrong = await connection.fetch(_WRONG_BATCHES)
        assert [tuple(row) for row in counted] == [tuple(row) for row in recounted]
        assert [dict(row) for row in wrong] == []


def caller(user: User) -> Caller:
    return Caller(user)


_SUMS = ", ".join(f"sum({name})::bigint AS {name}" for name in STATUS_COLUMNS)
_COUNTED = f"""
SELECT task_id, group_label, {_SUMS} FROM job_counts GROUP BY task_id, group_label
HAVING {" OR ".join(f"sum({name}) <> 0" for name in STATUS_COLUMNS)} ORDER BY task_id, group_label
"""
_RECOUNTED = f"""
SELECT b.task_id, b.group_label,
       {", ".join(f"count(*) FILTER (WHERE j.status = {n})" for n in range(len(STATUS_COLUMNS)))}
FROM jobs j JOIN batches b USING (batch_no) GROUP BY b.task_id, b.group_label ORDER BY b.task_id, b.group_label
"""
_WRONG_BATCHES = """
SELECT * FROM (
    SELECT b.batch_no, b.held, b.runnable, b.active, count(*) FILTER (WHERE j.status = 0) AS held_jobs,
           count(*) FILTER (WHERE j.status = 2 AND j.rests_until IS NULL) AS runnable_jobs,
           count(*) FILTER (WHERE j.status IN (3, 4) OR j.status = 2 AND j.rests_until IS NOT NULL) AS active_jobs
    FROM batches b LEFT JOIN jobs j USING (batch_no) GROUP BY b.batch_no
) c WHERE held <> held_jobs OR runnable <> runnable_jobs OR active <> active_jobs
"""


async def until_blocked(world: World, count: int = 1, seconds: float = 10) -> None:
    """Wait until so many of this database's connections wait for a lock that another one holds."""
    seen: list[dict[str, Any]] = []
    try:
        async with asyncio.timeout(seconds):
            while sum(row["wait_event_type"] == "Lock" for row in seen) < count:
                seen = await world.rows(
                    "SELECT pid, state, wait_event_type, left(query, 60) AS query FROM pg_stat_activity"
                    " WHERE datname = current_database()"
                )
    except TimeoutError:
        raise AssertionError(f"nothing waits for a lock after {seconds} s: {seen}") from None
