"""Taking in batches, with images of a real registry."""

import base64
from typing import Any
from uuid import UUID

import pytest
from msgspec import UNSET

from openhtc.domain.enums import CloudProvider
from openhtc.domain.errors import Forbidden, ImageUnavailable, InvalidRequest
from openhtc.domain.identity import Caller, User
from openhtc.domain.regions import Region
from openhtc.domain.submission import JobDefinition, JobSubmitRequest, RetryStrategy
from openhtc.services.jobs import Wanted

from ..world import Task, caller
from .conftest import Core


@pytest.fixture
async def place(core: Core) -> tuple[Caller, Task, str]:
    """A user, a task, and the digest of app:v1 in the task's project."""
    user = await core.world.user()
    task = await core.world.task(user)
    digest = await core.far.registry.push_empty_image(task.project, "app", "v1")
    return caller(user), task, digest


def request(image: str = "app:v1", batch_size: int = 1, **facts: Any) -> JobSubmitRequest:
    return JobSubmitRequest(JobDefinition(image), batch_size=batch_size, **facts)


async def submit(
    core: Core, who: Caller, task: Task, *requests: JobSubmitRequest, group: str = ""
) -> list[JobSubmitRequest]:
    return await core.submission.submit(who, str(task.project), str(task.id), group, list(requests))


async def test_an_accepted_submission_is_there_at_once(core: Core, place: tuple[Caller, Task, str]) -> None:
    who, task, digest = place
    answer = await submit(
        core, who, task, request(batch_size=3), request(retry_strategy=RetryStrategy(2)), group="g"
    )

    first, second = answer
    assert (first.batch_size, first.group, first.created_by) == (3, "g", who.user.id)
    assert (first.task_id, first.project_id) == (str(task.id), str(task.project))
    assert (first.regions, first.region, first.cloud_provider) == (UNSET, UNSET, CloudProvider.AWS)
    assert isinstance(first.job_definition_name, str)
    assert isinstance(second.parent_job_id, str)
    ids = (str(task.project), str(task.id))
    job = await core.jobs.get(who, *ids, f"{first.parent_job_id}:2")
    assert (job.batch.region, job.batch.group_label, job.batch.created_by) == (
        "AWS_US_WEST_2",
        "g",
        who.user.id,
    )
    page = await core.jobs.page(who, *ids, Wanted(group="g"), None, 10)
    assert [job.idx for job in page.items] == [0, 1, 2, 0]
    rows = await core.world.rows("SELECT digest, repository, max_retries FROM batches ORDER BY batch_no")
    assert [row["max_retries"] for row in rows] == [0, 2]
    assert {(row["digest"], row["repository"]) for row in rows} == {(digest, f"aws.com/{task.project}/app")}
    await core.world.check_counters()


async def test_a_tag_is_pinned_when_it_is_submitted(core: Core, place: tuple[Caller, Task, str]) -> None:
    who, task, digest = place
    await core.far.registry.push_empty_image(task.project, "app", "latest")
    await submit(core, who, task, request("app"), request("app:v1"))
    rows = await core.world.rows("SELECT DISTINCT digest FROM batches")
    assert [row["digest"] for row in rows] == [digest]


@pytest.mark.parametrize("image", ["app:v2", "other:v1", "other", "a" * 250 + ":v1"])
async def test_an_image_that_is_missing_is_named_and_nothing_is_stored(
    core: Core, place: tuple[Caller, Task, str], image: str
) -> None:
    who, task, _ = place
    with pytest.raises(ImageUnavailable) as caught:
        await submit(core, who, task, request(), request(image))
    assert caught.value.message.startswith("[1].htcJobDefinition.imageName: ")
    assert (caught.value.code, caught.value.status) == ("IMAGE_UNAVAILABLE", 400)
    assert await core.world.rows("SELECT 1 FROM batches") == []


async def test_invariant_8_an_image_of_another_project_is_missing(
    core: Core, place: tuple[Caller, Task, str]
) -> None:
    who, _, _ = place
    other = await core.world.task(who.user)
    with pytest.raises(ImageUnavailable):
        await submit(core, who, other, request())


async def test_a_task_that_is_not_active_takes_nothing(core: Core, place: tuple[Caller, Task, str]) -> None:
    who, task, _ = place
    for change in ("archived_at = now()", "deleted_at = now()"):
        await core.world.rows(f"UPDATE tasks SET {change} WHERE id = $1", task.id)
        with pytest.raises(InvalidRequest) as caught:
            await submit(core, who, task, request())
        assert caught.value.code == "TASK_NOT_ACTIVE"
    assert await core.world.rows("SELECT 1 FROM batches") == []


async def test_batches_are_spread_over_the_regions_of_the_project(core: Core) -> None:
    regions = ("AWS_US_WEST_2", "GCP_US_EAST_1")
    user: User = await core.world.user("30-3000000", regions=regions)
    who = caller(user)
    project = await core.projects.create(who, "p", "", [Region(name) for name in regions])
    task = await core.world.task(user, project.id)
    await core.far.registry.push_empty_image(project.id, "app", "v1")
    await submit(core, who, task, *[request()] * 4)
    rows = await core.world.rows("SELECT region, count(*) AS n FROM batches GROUP BY region ORDER BY region")
    assert [row["region"] for row in rows] == list(regions)
    assert sum(row["n"] for row in rows) == 4
    await submit(
        core, who, task, request(regions=[Region.GCP_US_EAST_1]), request(region=Region.GCP_US_EAST_1)
    )
    rows = await core.world.rows("SELECT region FROM batches ORDER BY batch_no DESC LIMIT 2")
    assert [row["region"] for row in rows] == ["GCP_US_EAST_1"] * 2


async def test_a_push_makes_the_repository_known(core: Core, place: tuple[Caller, Task, str]) -> None:
    who, task, _ = place
    password = await core.registry.password(who, str(task.project))
    basic = "Basic " + base64.b64encode(f"AWS:{password}".encode()).decode()
    await core.registry.grant(basic, [f"repository:aws.com/{task.project}/app:pull,push"])
    await core.registry.grant(basic, [f"repository:aws.com/{UUID(int=1)}/stolen:pull,push"])
    project, images = await core.images.list(who, str(task.project))
    assert (project.repositories, images) == (["app"], ["app:v1"])
    await core.images.require(who, str(task.project), "app:v1")
    with pytest.raises(ImageUnavailable) as caught:
        await core.images.require(who, str(task.project), "app:v9")
    assert caught.value.status == 404


@pytest.mark.parametrize("name", ["", "App", "a b", "a:b", "../a", "a" * 256])
async def test_a_repository_has_a_plain_name(core: Core, place: tuple[Caller, Task, str], name: str) -> None:
    who, task, _ = place
    with pytest.raises(InvalidRequest, match="repoName"):
        await core.images.create_repository(who, str(task.project), name)


async def test_a_region_that_the_workspace_lacks_is_refused(core: Core) -> None:
    who = caller(await core.world.user())
    with pytest.raises(InvalidRequest, match="GCP_US_EAST_1"):
        await core.projects.create(who, "p", "", [Region.GCP_US_EAST_1])
    project = await core.projects.create(who, "p", "", [])
    assert project.regions == ["AWS_US_WEST_2"]


@pytest.mark.parametrize("path", ["", "/a", "a/", "a//b", "../a", "a/../b", ".", "a\nb", "a\\b", "x" * 901])
async def test_an_upload_stays_in_its_folder(core: Core, place: tuple[Caller, Task, str], path: str) -> None:
    who, task, _ = place
    with pytest.raises(InvalidRequest, match="filePath"):
        await core.storage.presign_task(who, str(task.project), str(task.id), path)
    stranger = caller(await core.world.user("40-4000000"))
    with pytest.raises(Forbidden):
        await core.storage.presign_task(stranger, str(task.project), str(task.id), "a")
