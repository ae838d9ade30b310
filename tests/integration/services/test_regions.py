"""Regions: mapped by operators, used by workspaces and projects, each with its storage."""

from collections import Counter
from datetime import timedelta

import pytest

from openhtc.domain.enums import Architecture, CloudProvider
from openhtc.domain.errors import Forbidden, InvalidRequest, NotFound
from openhtc.domain.identity import Caller, User
from openhtc.domain.regions import Region
from openhtc.services.storage_access import KeyCache

from ..world import caller
from .conftest import Core
from .test_submission import request

WEST, CENTRAL, EUROPE = Region.AWS_US_WEST_2, Region.GCP_US_CENTRAL_1, Region.AWS_EU_WEST_1
OPERATOR = "operator:root"


@pytest.fixture
async def user(core: Core) -> User:
    """Of a workspace that may use two of the three mapped regions."""
    await core.regions.set(OPERATOR, EUROPE)
    return await core.world.user(regions=(WEST, CENTRAL))


async def test_a_workspace_sees_every_mapped_region_and_which_it_may_use(core: Core, user: User) -> None:
    await core.regions.set(OPERATOR, CENTRAL, weight=2.5, architectures=[Architecture.X86, Architecture.X86])
    seen = await core.regions.visible(caller(user), None, None)
    assert {view.region.name: view.enabled for view in seen} == {EUROPE: False, WEST: True, CENTRAL: True}
    (central,) = await core.regions.visible(caller(user), CloudProvider.GCP, True)
    assert (central.region.name, central.region.weight) == (CENTRAL, 2.5)
    assert (central.region.architectures, central.region.updated_by) == (["X86"], OPERATOR)
    assert [view.region.name for view in await core.regions.visible(caller(user), None, False)] == [EUROPE]
    assert (await core.regions.get(caller(user), WEST)).enabled
    for unknown in (Region.AWS_EU_NORTH_1, "MARS", Region.UNASSIGNED):
        with pytest.raises(NotFound):
            await core.regions.get(caller(user), unknown)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"provider": "moonbase"}, "provider: 'moonbase' is none of local, slurm, kubernetes"),
        ({"weight": -1}, "weight: -1 is not within"),
        ({"weight": float("nan")}, "weight: nan is not within"),
        ({"architectures": []}, "architectures: expected at least one"),
    ],
)
async def test_what_cannot_be_is_refused_and_changes_nothing(
    core: Core, change: dict[str, object], message: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await core.regions.set(OPERATOR, WEST, **change)  # type: ignore[arg-type]
    assert message in refused.value.message
    assert await core.regions.list() == []
    assert await core.world.rows("SELECT 1 FROM audit") == []


async def test_a_switched_off_region_takes_no_new_jobs(core: Core, user: User) -> None:
    project = await core.projects.create(caller(user), "p", "", [WEST, CENTRAL])
    task = await core.tasks.create(caller(user), str(project.id), "t", "")
    await core.far.registry.push_empty_image(project.id, "app", "v1")
    place = (caller(user), str(project.id), str(task.id), "")
    await core.regions.set(OPERATOR, CENTRAL, enabled=False)
    await core.submission.submit(*place, [request() for _ in range(10)])
    with pytest.raises(InvalidRequest, match=r"\[1\].regions: GCP_US_CENTRAL_1 is switched off"):
        await core.submission.submit(*place, [request(), request(regions=[CENTRAL])])
    rows = await core.world.rows("SELECT region FROM batches")
    assert Counter(row["region"] for row in rows) == {WEST.value: 10}
    again = await core.world.user(user.workspace_id)
    assert again.regions == [WEST]
    with pytest.raises(InvalidRequest, match="GCP_US_CENTRAL_1 is not enabled in the workspace"):
        await core.projects.create(caller(again), "q", "", [CENTRAL])


async def test_batches_are_spread_by_weight(core: Core, user: User) -> None:
    await core.regions.set(OPERATOR, CENTRAL, weight=3)
    project = await core.projects.create(caller(user), "p", "", [WEST, CENTRAL])
    task = await core.tasks.create(caller(user), str(project.id), "t", "")
    await core.far.registry.push_empty_image(project.id, "app", "v1")
    for _ in range(4):
        await core.submission.submit(
            caller(user), str(project.id), str(task.id), "", [request() for _ in range(100)]
        )
    rows = await core.world.rows("SELECT region FROM batches")
    found = Counter(row["region"] for row in rows)
    assert found[CENTRAL] / 400 == pytest.approx(0.75, abs=0.03)


async def test_c13_a_project_gets_more_regions_and_loses_none(core: Core, user: User) -> None:
    project = await core.projects.create(caller(user), "p", "", [])
    assert project.regions == [WEST]
    stranger = await core.world.user(user.workspace_id)
    with pytest.raises(Forbidden, match="takes the role owner or admin"):
        await core.projects.add_regions(caller(stranger), str(project.id), [CENTRAL])
    with pytest.raises(InvalidRequest, match="AWS_EU_WEST_1 is not enabled"):
        await core.projects.add_regions(caller(user), str(project.id), [CENTRAL, EUROPE])
    assert (await core.projects.get(caller(user), str(project.id))).regions == [WEST]
    admin = caller(await core.world.user(user.workspace_id, admin=True))
    extended = await core.projects.add_regions(admin, str(project.id), [CENTRAL])
    assert extended.regions == [WEST, CENTRAL]
    same = await core.projects.add_regions(caller(user), str(project.id), [CENTRAL])
    assert same == await core.projects.get(caller(user), str(project.id))
    audited = await core.world.rows("SELECT actor, action FROM audit WHERE action LIKE 'project%'")
    assert audited == [{"actor": admin.user.id, "action": "project.regions"}]


async def test_every_region_has_its_own_bucket(core: Core, user: User) -> None:
    project = await core.projects.create(caller(user), "p", "", [WEST, CENTRAL])
    _, accesses = await core.storage.all_of_project(caller(user), str(project.id))
    assert [(access.region, access.bucket) for access in accesses] == [
        (WEST, "openhtc"),
        (CENTRAL, "openhtc-gcp-us-central-1"),
    ]
    assert core.storage.options(caller(user)) == [(a.region, a.bucket) for a in accesses]
    assert core.storage.option(caller(user), CENTRAL) == (CENTRAL, "openhtc-gcp-us-central-1")
    for name in (EUROPE, "MARS"):
        with pytest.raises(NotFound):
            core.storage.option(caller(user), name)
        with pytest.raises(NotFound):
            await core.storage.of_project(caller(user), str(project.id), name)


async def test_keys_expire_with_the_token_that_asks(core: Core, user: User) -> None:
    project = await core.projects.create(caller(user), "p", "", [])
    core.world.clock.now = core.world.clock.now.now(core.world.clock.now.tzinfo)

    async def life(seconds: int) -> timedelta:
        expires = int(core.world.clock().timestamp()) + seconds
        who = Caller(user, None, (("exp", expires),))
        _, access = await core.storage.of_project(who, str(project.id))
        return access.keys.expires_at - core.world.clock()

    assert abs(await life(6 * 3600) - timedelta(hours=6)) < timedelta(minutes=1)
    assert abs(await life(2 * 3600) - timedelta(hours=2)) < timedelta(minutes=1)
    assert abs(await life(60) - timedelta(minutes=15)) < timedelta(minutes=1)


async def test_keys_are_given_again_while_they_last_long_enough(core: Core, user: User) -> None:
    clock, store = core.world.clock, core.far.objects
    clock.now = clock.now.now(clock.now.tzinfo)
    cache = KeyCache(clock)
    prefixes = ("projects/a/",)
    until = clock() + timedelta(hours=2)
    first = await cache.keys(store, user.id, prefixes, until)
    assert await cache.keys(store, user.id, prefixes, until + timedelta(minutes=20)) is first
    assert await cache.keys(store, user.id, prefixes, until + timedelta(minutes=40)) is not first
    assert await cache.keys(store, user.id, prefixes, until - timedelta(minutes=1)) is not first
    assert await cache.keys(store, "somebody else", prefixes, until) is not first
