"""Metrics as text: what users of a workspace and what the operator read."""

from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

import openhtc
from openhtc.domain.enums import JobStatus, ModifierRole, Outcome
from openhtc.domain.errors import Forbidden, Unauthorized
from openhtc.domain.identity import Caller, JobScope, User
from openhtc.services.admission import Admission
from openhtc.services.authentication import Authentication
from openhtc.services.limits import Limits
from openhtc.services.metrics import Metrics
from openhtc.services.secrets import new_secret, secret_hash
from openhtc.services.signing import SigningKeys
from openhtc.services.tokens import Tokens
from openhtc.storage import identity, projects
from openhtc.storage.leader import lead
from openhtc.storage.migrations import available

from ...exposition import Exposition, parse
from ..world import LEASE_SECONDS, REGION, SECRET_KEY, Task, World, caller

AWKWARD = 'a "quoted" \\ back\\nslash,\nline {x="y"} é #'
OTHER_WORKSPACE = "20-2000000"
INF = float("inf")


@pytest.fixture
def metrics(world: World) -> Metrics:
    return Metrics(world.database, world.clock)


@pytest.fixture
def limits(world: World) -> Limits:
    return Limits(world.database, Admission(world.database, world.clock), world.clock)


@pytest.fixture
async def user(world: World) -> User:
    return await world.user(admin=True)


async def project_of(world: World, user: User, name: str) -> UUID:
    project_id = uuid4()
    row = projects.Project(
        project_id, 0, user.workspace_id, name, "", [REGION], user.id, world.clock(), "org", []
    )
    async with world.database.transaction() as connection:
        await projects.insert_project(connection, row)
    return project_id


async def read(metrics: Metrics, user: User) -> Exposition:
    return parse(await metrics.of_workspace(caller(user)))


async def used(world: World, task: Task) -> None:
    """One job in each status that the service gives, and one that was lost; vCPUs are 2 for each job."""
    batch = await world.batch(task, 6, vcpus=2)
    await world.batches(task, [1], held=True, vcpus=2)
    agent = await world.agent()
    done, failed, running, _ = await world.grant(agent, (batch, 4))
    world.clock.step(10)
    await world.report(agent, *(world.start(grant) for grant in (done, failed, running)))
    world.clock.step(4)
    await world.report(agent, world.end(done), world.end(failed, Outcome.OUT_OF_MEMORY))
    lost = await world.agent()
    await world.grant(lost, (batch, 1))
    await world.rows("UPDATE agents SET expires_at = $1 WHERE agent_no = $2 RETURNING 1", world.clock(), lost)
    world.clock.step(1)
    assert await world.expiry.run_once() == 1


async def test_a_project_in_use(world: World, metrics: Metrics, user: User) -> None:
    task = await world.task(user, await project_of(world, user, "alpha"))
    await used(world, task)
    world.clock.step(100)
    found = await read(metrics, user)
    whose = {"workspace_id": user.workspace_id, "project_id": str(task.project), "project_name": "alpha"}
    place = {**whose, "region": REGION}
    expected = {
        "SUBMITTED_TO_RESCALE": 1,
        "SUBMITTED_TO_PROVIDER": 0,
        "RUNNABLE": 2,
        "STARTING": 1,
        "RUNNING": 1,
        "SUCCEEDED": 1,
        "FAILED": 1,
    }
    for status, count in expected.items():
        assert found.value("htc_jobs", **place, status=status) == count, status
        if not JobStatus(status).is_terminal:
            assert found.value("htc_job_vcpus", **place, status=status) == 2 * count, status
    assert found.value("htc_job_active_vcpus", **whose) == 8
    assert found.value("htc_job_starts_total", **place) == 3
    assert found.value("htc_job_ends_total", **place, result="succeeded", code="") == 1
    assert found.value("htc_job_ends_total", **place, result="failed", code="ErrorNotEnoughMemory") == 1
    assert found.total("htc_job_ends_total", **place) == 2
    assert found.value("htc_job_requeues_total", **place, outcome="NODE_LOST") == 1
    assert found.value("htc_job_wait_seconds_count", **place) == 5
    assert found.value("htc_job_run_seconds_count", **place) == 2
    assert found.value("htc_job_run_seconds_sum", **place) == 8
    assert found.value("htc_job_run_seconds_bucket", **place, le="5") == 2
    assert found.value("htc_job_run_seconds_bucket", **place, le="1") == 0
    assert found.value("htc_job_queue_age_seconds", **place) == 115
    assert found.value("htc_job_held_age_seconds", **whose) == 115


async def test_names_with_everything_that_needs_escaping(world: World, metrics: Metrics, user: User) -> None:
    task = await world.task(user, await project_of(world, user, AWKWARD))
    await used(world, task)
    found = await read(metrics, user)
    assert found.label_values("project_name") == {AWKWARD}
    assert found.value("htc_job_limit_vcpus", project_name=AWKWARD) == INF


async def test_limits(world: World, metrics: Metrics, limits: Limits, user: User) -> None:
    me, one, other = caller(user), await world.task(user), await world.task(user)

    async def effective() -> list[float]:
        found = await read(metrics, user)
        return [
            found.value("htc_job_limit_vcpus", project_id=str(task.project), project_name="p")
            for task in (one, other)
        ]

    assert await effective() == [INF, INF]
    await limits.put(me, str(one.project), ModifierRole.PROJECT_ADMIN, 6)
    await limits.put(me, str(one.project), ModifierRole.WORKSPACE_ADMIN, 9)
    assert await effective() == [6, INF]
    await limits.set_workspace("operator:root", user.workspace_id, 4)
    assert await effective() == [4, 4]
    found = await read(metrics, user)
    for role, vcpus in (("PROJECT_ADMIN", 6), ("WORKSPACE_ADMIN", 9)):
        project = str(one.project)
        assert found.value("htc_project_limit_vcpus", project_id=project, modifier_role=role) == vcpus
    assert len(found.values("htc_project_limit_vcpus")) == 2
    assert found.values("htc_workspace_limit_vcpus") == {frozenset({("workspace_id", user.workspace_id)}): 4}
    await limits.put(me, str(one.project), ModifierRole.PROJECT_ADMIN, 0)
    assert await effective() == [0, 4]


async def test_a_workspace_sees_nothing_of_another(
    world: World, metrics: Metrics, limits: Limits, user: User
) -> None:
    stranger = await world.user(OTHER_WORKSPACE, admin=True)
    for each in (user, stranger):
        task = await world.task(each, await project_of(world, each, f"of {each.workspace_id}"))
        await used(world, task)
        await limits.put(caller(each), str(task.project), ModifierRole.PROJECT_ADMIN, 3)
        await limits.set_workspace("operator:root", each.workspace_id, 5)
    for each in (user, stranger):
        found = await read(metrics, each)
        assert found.label_values("workspace_id") == {each.workspace_id}
        assert found.label_values("project_name") == {f"of {each.workspace_id}"}
        for name in ("htc_agents", "htc_nodes", "htc_leases", "htc_database_bytes"):
            assert name not in found.metrics
    whole = parse(await metrics.of_installation())
    assert whole.label_values("workspace_id") == {user.workspace_id, OTHER_WORKSPACE}
    for name, metric in (await read(metrics, user)).metrics.items():
        assert metric.samples.items() <= whole.metrics[name].samples.items(), name


async def test_a_workspace_without_projects_learns_which_metrics_there_are(
    world: World, metrics: Metrics, user: User
) -> None:
    await used(world, await world.task(await world.user(OTHER_WORKSPACE)))
    found = await read(metrics, user)
    assert "htc_job_limit_vcpus" in found.metrics
    assert not any(metric.samples for metric in found.metrics.values())


async def test_a_job_s_token_is_refused(world: World, metrics: Metrics, user: User) -> None:
    task = await world.task(user)
    with pytest.raises(Forbidden, match="metrics"):
        await metrics.of_workspace(Caller(user, JobScope(task.project, task.id, uuid4(), 0)))


async def test_the_service_itself(world: World, metrics: Metrics, user: User, database_url: str) -> None:
    task = await world.task(user)
    await used(world, task)
    found = parse(await metrics.of_installation())
    assert found.value("htc_build_info", version=openhtc.__version__) == 1
    assert found.value("htc_schema_version") == available()[-1][0]
    assert found.value("htc_database_bytes") > 1_000_000
    assert (found.value("htc_agents"), found.value("htc_agents_expired_total")) == (1, 1)
    assert found.value("htc_nodes", region=REGION, provider="local") == 1
    assert found.value("htc_node_vcpus", region=REGION, provider="local") == 1000
    assert (found.value("htc_leases", region=REGION), found.value("htc_leased_vcpus", region=REGION)) == (
        2,
        4,
    )
    assert (found.value("htc_keepers"), found.value("htc_keeper_age_seconds")) == (0, 0)
    async with lead(database_url) as leadership:
        assert leadership is not None
        now = Metrics(world.database, lambda: datetime.now(UTC))
        found = parse(await now.of_installation())
        assert found.value("htc_keepers") == 1
        assert 0 <= found.value("htc_keeper_age_seconds") < 30


async def test_nodes_that_are_gone(world: World, metrics: Metrics, user: User) -> None:
    await used(world, await world.task(user))
    world.clock.step(LEASE_SECONDS + 1)
    found = parse(await metrics.of_installation())
    assert found.values("htc_nodes") == {}
    assert found.value("htc_leases", region=REGION) == 2, "until their agent is given up"
    await world.expiry.run_once()
    found = parse(await metrics.of_installation())
    assert (found.value("htc_leases", region=REGION), found.value("htc_agents_expired_total")) == (0, 2)


async def test_the_key_to_all_metrics(world: World) -> None:
    tokens = Tokens(SigningKeys(world.database, SECRET_KEY), "http://127.0.0.1:8080", SECRET_KEY)
    authentication = Authentication(world.database, tokens, world.clock)
    keys = {}
    async with world.database.transaction() as connection:
        for kind in ("metrics_key", "agent_key"):
            secret = new_secret(kind)
            hashed = secret_hash(secret)
            keys[kind] = secret
            await connection.execute(
                "INSERT INTO credentials (kind, secret_hash) VALUES ($1, $2)", kind, hashed
            )
    for scheme in ("Token", "Bearer"):
        await authentication.metrics_by_key(f"{scheme} {keys['metrics_key']}")
    wrong = ("Token wrong", f"Token {keys['agent_key']}", keys["metrics_key"], f"Basic {keys['metrics_key']}")
    for header in (None, "", *wrong):
        with pytest.raises(Unauthorized, match="metrics key"):
            await authentication.metrics_by_key(header)
    with pytest.raises(Unauthorized):
        await authentication.agent_by_key(f"Token {keys['metrics_key']}")
    async with world.database.transaction() as connection:
        found = await identity.find_credential(
            connection, "metrics_key", secret_hash(keys["metrics_key"]), world.clock()
        )
        assert found is not None
        await identity.revoke_credential(connection, found.id, world.clock())
    with pytest.raises(Unauthorized):
        await authentication.metrics_by_key(f"Token {keys['metrics_key']}")
