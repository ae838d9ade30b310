"""A real slot with a real BusyBox root file system, and every runtime that this machine has."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from openhtc.agent.images.config import ImageConfig
from openhtc.agent.images.store import Image
from openhtc.agent.runtimes.base import Runtime
from openhtc.agent.runtimes.choice import choose
from openhtc.agent.sandbox import linux
from openhtc.agent.sandbox.mode import Mode, close_to_children, detect
from openhtc.agent.sandbox.sandbox import Sandbox
from openhtc.agent.sandbox.slot import Slot

sys.path.insert(0, str(Path(__file__).parent))
from native_bench import OneByOne
from workbench import Workbench, build_rootfs


@pytest.fixture(scope="session", autouse=True)
def own_mounts() -> None:
    """What these tests mount is seen by this thread and its children only, and goes with them."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    linux.unshare(linux.CLONE_NEWNS)
    linux.mount("none", "/", "none", linux.MS_REC | linux.MS_PRIVATE)
    close_to_children()


@pytest.fixture(scope="session")
def mode() -> Mode:
    return detect()


@pytest.fixture(scope="session")
def area() -> Iterator[Path]:
    """A directory that unprivileged users can traverse; pytest's own are closed to them."""
    path = Path(subprocess.check_output(["mktemp", "-d", "/var/tmp/openhtc-test-XXXXXX"], text=True).strip())
    path.chmod(0o711)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def image(area: Path, mode: Mode) -> Image:
    return Image("sha256:" + "0" * 64, build_rootfs(area / "rootfs", mode.ids.base), ImageConfig(), 0)


@pytest.fixture(scope="session")
def sandbox(area: Path, mode: Mode) -> Iterator[Sandbox]:
    box = Sandbox(mode, area / "data", forwards=[], outside=False)
    assert box.missing == [], "these tests need a machine that enforces everything"
    yield box
    box.close()


@pytest.fixture(scope="module", params=["native", "bubblewrap", "runc"])
def runtime(request: pytest.FixtureRequest, area: Path, mode: Mode) -> Iterator[Runtime | None]:
    """None stands for the native one, whose slots start their containers themselves."""
    if request.param == "native":
        yield None
        return
    program = {"bubblewrap": "bwrap"}.get(request.param, request.param)
    if shutil.which(program) is None:
        pytest.skip(f"the program {program} is missing")
    yield choose(request.param, mode, area / "runtime")
    linux.become_subreaper(False)


SlotMaker = Callable[[Sandbox, str], tuple[Slot | OneByOne, Runtime | OneByOne]]


@pytest.fixture
def slot_maker(runtime: Runtime | None, mode: Mode, area: Path) -> SlotMaker:
    def make(sandbox: Sandbox, name: str) -> tuple[Slot | OneByOne, Runtime | OneByOne]:
        if runtime is not None:
            return sandbox.slot(name), runtime
        slot = OneByOne(mode, sandbox, area, name)
        return slot, slot

    return make


@pytest.fixture
def bench_maker(
    slot_maker: SlotMaker, sandbox: Sandbox, image: Image, tmp_path: Path
) -> Iterator[Callable[[str], Workbench]]:
    slots: list[Slot | OneByOne] = []

    def make(name: str) -> Workbench:
        slot, starter = slot_maker(sandbox, name)
        slots.append(slot)
        return Workbench(slot, starter, image, tmp_path, name)

    yield make
    for slot in slots:
        slot.close()


@pytest.fixture
def bench(bench_maker: Callable[[str], Workbench]) -> Workbench:
    return bench_maker("a")


def wait_until(
    condition: Callable[[], object], describe: Callable[[], object], seconds: float = 20.0
) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"last seen: {describe()}"
        time.sleep(0.01)


@pytest.fixture
def until() -> Callable[..., None]:
    return wait_until
