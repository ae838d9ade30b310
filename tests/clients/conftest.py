"""The released Python client, unmodified, pointed at the running service."""

import logging
from collections.abc import Callable, Iterator

import pytest
from rescalehtc import HtcSession, container_registry, htcjobs, htcprojects, htctasks
from rescalehtc.htcprojects import HtcProject
from rescalehtc.htctasks import HtcTask
from rescalehtc.internals import constants

from ..stack import IMAGE, Image, Json, Stack, User, push

REQUEST_LOGGER = "urllib3.connectionpool"


@pytest.fixture(scope="session", autouse=True)
def client_settings(stack: Stack) -> Iterator[None]:
    """The client's base address, and no 15 s between two status calls of one object: settings of the test.

    The client reads the interval from the modules named here; nothing of its code is replaced.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "_RESCALE_API_BASE_URL", stack.base_url)
        for module in (htcjobs, htctasks):
            patch.setattr(module, "FLOOD_PREVENTION_INTERVAL_SECONDS", 0.1)
        patch.delenv("RESCALE_HTC_REFRESH_TOKEN", raising=False)
        patch.delenv("RESCALE_API_TOKEN", raising=False)
        yield


@pytest.fixture(scope="session")
def session_of(client_settings: None) -> Callable[[User], HtcSession]:
    """The client, signed in as a user."""
    made: dict[str, HtcSession] = {}

    def sign_in(user: User) -> HtcSession:
        if user.id not in made:
            made[user.id] = HtcSession(api_key=user.api_key)
        return made[user.id]

    return sign_in


@pytest.fixture(scope="session")
def htc(session_of: Callable[[User], HtcSession], alice: User) -> HtcSession:
    """The client as alice."""
    return session_of(alice)


@pytest.fixture(scope="session")
def htc_project(htc: HtcSession, project: Json) -> HtcProject:
    """The shared project, with the image bb:v1."""
    found = htcprojects.get_project_with_id(htc, project["projectId"])
    assert found is not None
    return found


@pytest.fixture
def htc_task(htc: HtcSession, htc_project: HtcProject, request: pytest.FixtureRequest) -> Iterator[HtcTask]:
    """A fresh task; what it still runs afterwards is cancelled."""
    made = htctasks.create_task_with_name(htc, htc_project, request.node.name[:100])
    yield made
    made.cancel_jobs_in_task(htc)


@pytest.fixture
def requests_made(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What the client asked the service since the test began, like ``GET /api/v1/auth/token``."""
    caplog.set_level(logging.DEBUG, REQUEST_LOGGER)

    def seen() -> list[str]:
        texts = [record.getMessage() for record in caplog.records if record.name == REQUEST_LOGGER]
        return [text.split('"')[1].removesuffix(" HTTP/1.1") for text in texts if '"' in text]

    return seen


@pytest.fixture(scope="session")
def push_image(htc: HtcSession) -> Callable[[HtcProject, Image, str], None]:
    """Push with skopeo, with the credentials that the client fetched."""

    def do(project: HtcProject, image: Image, name: str) -> None:
        registry = container_registry.get_container_registry(htc, project)
        push(image, registry.registry_url, name, registry.get_token(htc))

    return do


@pytest.fixture(scope="session", autouse=True)
def timed_out_job(client_settings: None, htc: HtcSession, htc_project: HtcProject) -> htcjobs.HtcJob:
    """Sleeps past the shortest time limit there is, 60 s; begun first and looked at last."""
    task = htctasks.create_task_with_name(htc, htc_project, "too slow")
    return htcjobs.create_single_job(
        htc, task, "ON_DEMAND_PRIORITY", IMAGE, 60, commands=["sleep", "600"], max_memory_mib=64
    )
