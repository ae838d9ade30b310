"""Who gets which work, and when."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import msgspec
import pytest

from openhtc.domain.errors import Forbidden, InvalidRequest, Unauthorized, Unavailable
from openhtc.domain.identity import AgentKey
from openhtc.domain.work import AgentHello, AgentSession, Capacity, LeaseAnswer, LeaseRequest
from openhtc.embedded.installation import Installation, choose_ports, new_secrets
from openhtc.embedded.ports import choose
from openhtc.registry import RegistryClient
from openhtc.services import leasing
from openhtc.services.duties import LeaseExpiry
from openhtc.storage import identity

from ..world import LEASE_SECONDS, REGION, World
from .conftest import Core, Far, assemble, store_at

LARGE = Capacity(1000, 10**6, 10**4)


async def agent_key(core: Core, regions: list[str] | None = None) -> AgentKey:
    """A key for agents of the given regions, None for all."""
    async with core.world.database.transaction() as connection:
        key_id = await identity.insert_credential(connection, "agent_key", None, "", uuid4().bytes)
    return AgentKey(key_id, regions)


OTHER_REGION = "GCP_US_EAST_1"


async def lease(
    core: Core, agent: int, free: Capacity = LARGE, jobs: int = 100, wait: float = 0
) -> LeaseAnswer:
    return await core.leasing.lease(agent, LeaseRequest(free, jobs, wait))


def numbers(answer: LeaseAnswer) -> dict[int, int]:
    """How many jobs of which batch."""
    found: dict[int, int] = {}
    for job in answer.jobs:
        found[job.batch] = found.get(job.batch, 0) + 1
    return found


async def until_listening(world: World) -> int:
    """Wait until a server listens for work; returns the number of its connection."""
    for _ in range(2000):
        found = await world.rows(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query ILIKE 'LISTEN%'"
        )
        if found:
            return int(found[0]["pid"])
    raise AssertionError("no connection listens")


async def until_heard(world: World, agent: int) -> None:
    """Wait until the agent's request has arrived. The clock must have moved before it."""
    seen: object = None
    for _ in range(2000):
        seen = (await world.rows("SELECT seen_at FROM agents WHERE agent_no = $1", agent))[0]["seen_at"]
        if seen == world.clock.now:
            return
    raise AssertionError(f"the agent was last heard at {seen}")


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a signal a wait would not end within the test."""
    monkeypatch.setattr(leasing, "_LOOK_AGAIN_SECONDS", 600.0)
    monkeypatch.setattr(leasing, "MAX_WAIT_SECONDS", 600.0)


@pytest.mark.usefixtures("patient")
async def test_a_submission_wakes_an_agent_that_waits(core: Core) -> None:
    task = await core.world.task()
    agent = await core.world.agent()
    core.signal.start()
    await until_listening(core.world)
    core.world.clock.step(1)
    waiting = asyncio.create_task(lease(core, agent, wait=500))
    await until_heard(core.world, agent)
    batch = await core.world.batch(task, 2)
    answer = await asyncio.wait_for(waiting, 20)
    assert numbers(answer) == {batch.no: 2}


@pytest.mark.usefixtures("patient")
async def test_a_job_that_comes_back_wakes_an_agent_that_waits(core: Core) -> None:
    batch = await core.world.batch(await core.world.task())
    first, second = await core.world.agent(), await core.world.agent()
    (grant,) = await core.world.grant(first, (batch, 1))
    core.signal.start()
    await until_listening(core.world)
    core.world.clock.step(1)
    waiting = asyncio.create_task(lease(core, second, wait=500))
    await until_heard(core.world, second)
    core.world.clock.step(LEASE_SECONDS)
    await core.world.report(second, held=[])
    assert await core.world.expiry.run_once() == 1
    answer = await asyncio.wait_for(waiting, 20)
    assert [job.attempt for job in answer.jobs] == [2]
    assert answer.jobs[0].lease > grant.lease


@pytest.mark.usefixtures("patient")
async def test_a_signal_that_was_missed_is_made_up_for_after_a_reconnection(core: Core) -> None:
    task = await core.world.task()
    agent = await core.world.agent()
    core.signal.start()
    pid = await until_listening(core.world)
    core.world.clock.step(1)
    waiting = asyncio.create_task(lease(core, agent, wait=500))
    await until_heard(core.world, agent)
    await core.world.rows("SELECT pg_terminate_backend($1)", pid)
    batch = await core.world.batch(task)
    assert numbers(await asyncio.wait_for(waiting, 20)) == {batch.no: 1}


@pytest.mark.usefixtures("patient")
async def test_a_server_that_stops_answers_the_agents_that_wait(core: Core) -> None:
    agent = await core.world.agent()
    core.signal.start()
    core.world.clock.step(1)
    waiting = asyncio.create_task(lease(core, agent, wait=500))
    await until_heard(core.world, agent)
    await core.signal.stop()
    assert await asyncio.wait_for(waiting, 20) == LeaseAnswer([], [])


async def test_without_work_the_answer_is_empty(core: Core) -> None:
    assert await lease(core, await core.world.agent(), wait=0.05) == LeaseAnswer([], [])


@pytest.mark.parametrize(
    ("needs", "free", "expected"),
    [
        ({"vcpus": 3}, Capacity(10, 10**6, 0), 3),
        ({"memory_mib": 300}, Capacity(100, 1000, 0), 3),
        ({"disk_gib": 4}, Capacity(100, 10**6, 9), 2),
        ({"vcpus": 11}, Capacity(10, 10**6, 0), 0),
        ({"disk_gib": 0}, Capacity(5, 10**6, 0), 5),
    ],
)
async def test_no_more_is_given_than_fits(
    core: Core, needs: dict[str, int], free: Capacity, expected: int
) -> None:
    batch = await core.world.batch(await core.world.task(), 20, **needs)
    answer = await lease(core, await core.world.agent(), free)
    assert numbers(answer) == ({batch.no: expected} if expected else {})


async def test_large_jobs_do_not_hide_small_ones(core: Core) -> None:
    task = await core.world.task()
    await core.world.batches(task, [1] * 30, vcpus=64)
    small = await core.world.batch(task, 3)
    answer = await lease(core, await core.world.agent(), Capacity(8, 10**5, 0))
    assert numbers(answer) == {small.no: 3}


async def test_no_more_is_given_than_was_asked_for(core: Core) -> None:
    await core.world.batch(await core.world.task(), 20)
    answer = await lease(core, await core.world.agent(), jobs=7)
    assert [job.index for job in sorted(answer.jobs, key=lambda job: job.index)] == list(range(7))
    assert await lease(core, await core.world.agent(), jobs=0) == LeaseAnswer([], [])


async def test_priority_goes_before_age(core: Core) -> None:
    task = await core.world.task()
    old = await core.world.batch(task, 5, economy=True)
    new = await core.world.batch(task, 5)
    assert numbers(await lease(core, await core.world.agent(), jobs=6)) == {new.no: 5, old.no: 1}


async def test_an_agent_gets_work_of_its_own_region(core: Core) -> None:
    task = await core.world.task()
    await core.world.batch(task, 5)
    there = await core.world.batch(task, 5, region=OTHER_REGION)
    agent = await core.world.agent(region=OTHER_REGION)
    assert numbers(await lease(core, agent)) == {there.no: 5}


async def test_invariant_7_projects_share_what_there_is(core: Core) -> None:
    """Whatever the order of submission: after many small leases both hold the same."""
    first, second = await core.world.task(), await core.world.task()
    early = await core.world.batches(first, [100] * 3)
    late = await core.world.batch(second, 100)
    agent = await core.world.agent()
    held = {first.id: 0, second.id: 0}
    for _ in range(10):
        for number, n in numbers(await lease(core, agent, Capacity(4, 10**5, 0))).items():
            held[second.id if number == late.no else first.id] += n
    assert held == {first.id: 20, second.id: 20}
    assert {batch.no for batch in early} >= {early[0].no}


async def test_invariant_7_very_many_batches_of_one_project_hide_no_other(core: Core) -> None:
    crowd, single = await core.world.task(), await core.world.task()
    for _ in range(21):
        await core.world.batches(crowd, [1] * 100)
    batch = await core.world.batch(single, 5)
    answer = await lease(core, await core.world.agent(), Capacity(8, 10**5, 0), jobs=8)
    assert numbers(answer).get(batch.no, 0) >= 2


async def test_an_agent_that_was_given_up_gets_no_work(core: Core) -> None:
    batch = await core.world.batch(await core.world.task())
    agent = await core.world.agent()
    core.world.clock.step(LEASE_SECONDS + 1)
    await core.world.expiry.run_once()
    with pytest.raises(Unauthorized):
        await lease(core, agent)
    assert await core.world.statuses(batch) == [2]


@pytest.mark.usefixtures("patient")
async def test_invariant_1_an_agent_that_is_given_up_while_it_waits_gets_no_work(core: Core) -> None:
    """A job that went to a dead agent would never come back."""
    task = await core.world.task()
    agent = await core.world.agent()
    core.signal.start()
    await until_listening(core.world)
    core.world.clock.step(1)
    waiting = asyncio.create_task(lease(core, agent, wait=500))
    await until_heard(core.world, agent)
    core.world.clock.step(LEASE_SECONDS + 1)
    async with asyncio.timeout(20):
        while await core.world.expiry.run_once() == 0:
            """The request may hold the agent's row at this very moment."""
    batch = await core.world.batch(task)
    with pytest.raises(Unauthorized):
        await asyncio.wait_for(waiting, 20)
    assert await core.world.statuses(batch) == [2]


async def test_invariant_6_a_grant_whose_answer_cannot_be_made_goes_back_for_free(core: Core) -> None:
    installation = Installation(ports=choose_ports(choose(set())), secrets=new_secrets())
    nowhere = store_at(f"http://127.0.0.1:{installation.ports.s3}", installation)
    async with RegistryClient(core.far.registry.url, core.far.registry.tokens) as client:
        broken = assemble(core.world, Far(nowhere, core.far.registry), core.signal, client)
        batch = await core.world.batch(await core.world.task(), 3)
        agent = await core.world.agent()
        with pytest.raises(Unavailable):
            await lease(broken, agent)
    assert await core.world.statuses(batch) == [2, 2, 2]
    assert (await core.world.rows("SELECT sum(losses + failures) AS n FROM jobs"))[0]["n"] == 0
    await core.world.check_counters()
    answer = await lease(core, agent)
    assert [job.attempt for job in answer.jobs] == [2, 2, 2]


async def test_the_environment_of_a_job(core: Core) -> None:
    user = await core.world.user()
    task = await core.world.task(user)
    mine = (("MY_VAR", "a=b c"), ("AWS_REGION", "mine"), ("EMPTY", ""))
    batch = await core.world.batch(
        task, 2, envs=mine, commands=("run", "it"), vcpus=2, memory_mib=300, disk_gib=7, timeout=600
    )
    answer = await lease(core, await core.world.agent())
    (work,) = answer.batches
    job = next(job for job in answer.jobs if job.index == 1)
    envs = dict([*work.envs, *job.envs])

    job_id = f"{batch.id}:1"
    expected = {
        "MY_VAR": "a=b c",
        "EMPTY": "",
        "AWS_BATCH_JOB_ARRAY_INDEX": "1",
        "AWS_BATCH_JOB_ATTEMPT": "1",
        "AWS_BATCH_JOB_ID": job_id,
        "RESCALE_JOB_ID": job_id,
        "RESCALE_PROJECT_ID": str(task.project),
        "RESCALE_TASK_ID": str(task.id),
        "RESCALE_HTC_PROJECT_ID": str(task.project),
        "RESCALE_HTC_TASK_ID": str(task.id),
        "RESCALE_HTC_REGION": "AWS_US_WEST_2",
        "PROJECT_SHARED_FOLDER": f"s3://openhtc/projects/{task.project}/shared",
        "TASK_SHARED_FOLDER": f"s3://openhtc/projects/{task.project}/tasks/{task.id}",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_S3": core.far.objects.endpoint,
    }
    assert {name: envs.get(name) for name in expected} == expected
    others = {
        "AWS_BATCH_JQ_NAME",
        "AWS_BATCH_CE_NAME",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "RESCALE_HTC_BEARER_TOKEN",
        "RESCALE_HTC_REFRESH_TOKEN",
    }
    assert all(envs.get(name) for name in others), envs.keys()
    assert (work.commands, work.needs, work.exec_timeout_seconds) == (["run", "it"], Capacity(2, 300, 7), 600)
    assert (work.parent_job_id, work.image.digest[:7]) == (str(batch.id), "sha256:")


async def test_the_tokens_of_a_job_open_its_own_task(core: Core) -> None:
    user = await core.world.user()
    task = await core.world.task(user)
    batch = await core.world.batch(task, claims=(("tier", "gold"),))
    answer = await lease(core, await core.world.agent())
    envs = dict(answer.jobs[0].envs)

    caller = await core.authentication.by_bearer(f"Bearer {envs['RESCALE_HTC_BEARER_TOKEN']}")
    assert (caller.user.id, caller.job and caller.job.task_id) == (user.id, task.id)
    assert caller.job is not None
    assert caller.job.claims == (("tier", "gold"),)
    assert dict(caller.claims)["userDefined_tier"] == "gold"
    refreshed = await core.authentication.by_key(f"Refresh {envs['RESCALE_HTC_REFRESH_TOKEN']}")
    assert refreshed.job == caller.job
    token, seconds = await core.authentication.bearer_for(refreshed)
    again = await core.authentication.by_bearer(f"Bearer {token}")
    assert again.job == caller.job
    assert seconds == 3600 + 3600
    assert caller.job.parent_job_id == UUID(answer.batches[0].parent_job_id) == batch.id


async def test_a_session_of_an_agent(core: Core) -> None:
    hello = AgentHello("node-1", ["AWS_US_WEST_2"], Capacity(8, 16000, 100), "X86", "bubblewrap", "0.1")
    session = await core.leasing.open_session(hello, await agent_key(core))
    assert await core.authentication.agent_by_bearer(f"Bearer {session.token}") == session.agent
    assert (session.lease_seconds, session.logs.prefix) == (LEASE_SECONDS, f"logs/{session.agent}/")
    again = await core.leasing.open_session(hello, await agent_key(core))
    assert again.agent != session.agent
    renewed = await core.leasing.renew_session(session.agent)
    assert renewed.agent == session.agent


async def test_an_agent_of_an_unknown_region_is_refused(core: Core) -> None:
    with pytest.raises(InvalidRequest, match="MOON"):
        await core.leasing.open_session(
            AgentHello("n", ["MOON"], LARGE, "X86", "bubblewrap", "0"), await agent_key(core)
        )


async def test_invariant_8_an_agent_key_opens_its_own_regions_only(core: Core) -> None:
    key = await agent_key(core, ["AWS_US_WEST_2"])
    hello = AgentHello("n", ["AWS_US_WEST_2", "GCP_US_CENTRAL_1"], LARGE, "X86", "bubblewrap", "0")
    with pytest.raises(Forbidden, match="serves AWS_US_WEST_2, not GCP_US_CENTRAL_1"):
        await core.leasing.open_session(hello, key)
    assert await core.world.rows("SELECT agent_no FROM agents") == []
    hello = AgentHello("n", ["AWS_US_WEST_2"], LARGE, "X86", "bubblewrap", "0")
    assert (await core.leasing.open_session(hello, key)).agent > 0


async def test_an_agent_proves_by_its_last_token_which_one_it_was(core: Core) -> None:
    """An expired one will do; anything else proves nothing, and is no reason to refuse it."""
    key, hello = await agent_key(core), AgentHello("n", [REGION], Capacity(1, 1, 1), "X86", "r", "0")

    async def opened(former: str) -> AgentSession:
        return await core.leasing.open_session(msgspec.structs.replace(hello, former=former), key)

    first = await opened("")
    core.world.clock.step(24 * 3600)
    second = await opened(first.token)
    third = await opened(second.token)
    head, _, tail = third.token.rpartition(".")
    user = await core.world.user()
    user_token = core.tokens.user_token(await core.tokens.keys(), user, core.world.clock())
    strangers = [await opened(former) for former in ("x", f"{head}.{tail[::-1]}", user_token, "\x7f")]
    rows = await core.world.rows("SELECT agent_no, first_no FROM agents ORDER BY agent_no")
    assert {row["agent_no"]: row["first_no"] for row in rows} == {
        first.agent: None,
        second.agent: first.agent,
        third.agent: first.agent,
        **{stranger.agent: None for stranger in strangers},
    }


async def test_no_lease_ends_because_the_databases_clock_was_moved(core: Core) -> None:
    world, patience = core.world, 0.5
    expiry = LeaseExpiry(world.database, world.clock, patience / 2, patience / 2)
    long = LeaseExpiry(world.database, world.clock, patience, 60)
    batch = await world.batch(await world.task())
    await world.grant(await world.agent(), (batch, 1))
    world.clock.step(3600)

    async def moved() -> datetime:
        return datetime.now(UTC) + timedelta(hours=1)

    await world.database.now.look(moved)
    assert await expiry.run_once() == 0
    await asyncio.sleep(patience)
    assert await long.run_once() == 0, "others have not learnt of it yet"
    assert await expiry.run_once() == 1
