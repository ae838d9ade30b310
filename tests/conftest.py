"""Fixtures for tests that talk to the whole running service: one for the session, started on first use."""

from collections.abc import Callable, Generator, Iterator

import pytest

from .stack import IMAGE, Api, Image, Json, Stack, Task, User, bearer_of, build_busybox

_STACK_KEY = pytest.StashKey[Stack]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "last: runs after all tests without this mark")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("last") is not None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the service logged when a test that uses it fails."""
    report = yield
    stack = item.session.stash.get(_STACK_KEY, None)
    if report.failed and stack is not None and "stack" in getattr(item, "fixturenames", ()):
        report.sections.append(("end of the service's logs", stack.log_tails()))
    return report


@pytest.fixture(scope="session")
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """`openhtc up` in a directory and on ports of its own, until the session ends."""
    made = Stack()
    request.session.stash[_STACK_KEY] = made
    try:
        made.up()
        yield made
    finally:
        made.destroy()


@pytest.fixture(scope="session")
def credentials(stack: Stack) -> dict[str, str]:
    """What `openhtc up` tells its operator."""
    return stack.credentials


@pytest.fixture(scope="session")
def new_user(stack: Stack) -> Callable[..., User]:
    """Makes a user with an API key: name, workspace (default: the first one), roles."""
    return stack.new_user


@pytest.fixture(scope="session")
def alice(new_user: Callable[..., User]) -> User:
    """A plain user."""
    return new_user("alice")


@pytest.fixture(scope="session")
def bob(new_user: Callable[..., User]) -> User:
    """Another plain user of alice's workspace."""
    return new_user("bob")


@pytest.fixture(scope="session")
def wanda(new_user: Callable[..., User]) -> User:
    """The admin of alice's workspace."""
    return new_user("wanda", "", "--workspace-admin")


@pytest.fixture(scope="session")
def other_workspace(stack: Stack) -> str:
    return stack.new_workspace("other workspace", "AWS_US_WEST_2", "AWS_US_EAST_1")


@pytest.fixture(scope="session")
def stranger(new_user: Callable[..., User], other_workspace: str) -> User:
    """The admin of another workspace, whose projects may have two regions."""
    return new_user("stranger", other_workspace, "--workspace-admin")


@pytest.fixture(scope="session")
def connect_as(stack: Stack) -> Iterator[Callable[[User], Api]]:
    """Plain HTTP as a user."""
    opened: dict[str, Api] = {}

    def connect(user: User) -> Api:
        if user.id not in opened:
            opened[user.id] = Api(stack, bearer_of(stack, user.api_key))
        return opened[user.id]

    yield connect
    for api in opened.values():
        api.close()


@pytest.fixture(scope="session")
def alice_api(connect_as: Callable[[User], Api], alice: User) -> Api:
    return connect_as(alice)


@pytest.fixture(scope="session")
def busybox_image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """busybox in an OCI layout on this machine."""
    return build_busybox(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="session")
def project(alice_api: Api, busybox_image: Image) -> Json:
    """A project of alice that holds the busybox image."""
    made = alice_api.new_project("the shared project")
    alice_api.push(made, busybox_image, IMAGE)
    return made


@pytest.fixture
def task(alice_api: Api, project: Json, request: pytest.FixtureRequest) -> Iterator[Task]:
    """A fresh task of alice; what it still runs afterwards is cancelled."""
    made = alice_api.new_task(project["projectId"], request.node.name[:100])
    yield made
    made.cancel()
