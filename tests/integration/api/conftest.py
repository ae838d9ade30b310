"""More users and places for the tests of the API."""

from collections.abc import Callable, Iterator

import pytest

from ...stack import IMAGE, Api, Image, Json, Stack, Task, User

UNSERVED = "AWS_US_EAST_1"
"""A region without nodes: what is submitted there waits, and disturbs nobody."""


@pytest.fixture(scope="session")
def anonymous(stack: Stack) -> Iterator[Api]:
    """Plain HTTP without any credential."""
    with Api(stack, "") as api:
        yield api


@pytest.fixture(scope="session")
def bob_api(connect_as: Callable[[User], Api], bob: User) -> Api:
    return connect_as(bob)


@pytest.fixture(scope="session")
def wanda_api(connect_as: Callable[[User], Api], wanda: User) -> Api:
    return connect_as(wanda)


@pytest.fixture(scope="session")
def stranger_api(connect_as: Callable[[User], Api], stranger: User) -> Api:
    """The admin of another workspace."""
    return connect_as(stranger)


@pytest.fixture(scope="session")
def waiting_project(stranger_api: Api, busybox_image: Image) -> Json:
    """A project of the other workspace in the region without nodes."""
    made = stranger_api.new_project("nothing runs here", regions=[UNSERVED])
    stranger_api.push(made, busybox_image, IMAGE)
    return made


@pytest.fixture
def waiting_task(stranger_api: Api, waiting_project: Json, request: pytest.FixtureRequest) -> Iterator[Task]:
    """A task whose jobs wait for ever."""
    made = stranger_api.new_task(waiting_project["projectId"], request.node.name[:100])
    yield made
    made.cancel()
