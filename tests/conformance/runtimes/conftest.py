"""A real slot with a real BusyBox root file system, and every runtime that this machine has."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from openhtc.agent.images.config import Identity, ImageConfig
from openhtc.agent.images.store import Image
from openhtc.agent.runtimes.base import Container, Exit, Runtime
from openhtc.agent.runtimes.choice import choose
from openhtc.agent.sandbox import linux
from openhtc.agent.sandbox.mode import Mode, close_to_children, detect
from openhtc.agent.sandbox.sandbox import Sandbox
from openhtc.agent.sandbox.slot import Collected, Slot
from openhtc.domain.work import Capacity

sys.path.insert(0, str(Path(__file__).parent))
from native_bench import OneByOne

DEADLINE_SECONDS = 60.0
ENV = (("PATH", "/bin"),)
ROOT = Identity(0, 0, (), "/")
NEEDS = Capacity(2, 256, 1)


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


def build_rootfs(path: Path, owner: int) -> Path:
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("the program busybox (package busybox-static) is missing")
    for name in ("bin", "etc", "tmp", "data"):
        (path / name).mkdir(parents=True)
    shutil.copy(busybox, path / "bin/busybox")
    for applet in subprocess.check_output([busybox, "--list"], text=True).split():
        if applet != "busybox":
            (path / "bin" / applet).symlink_to("busybox")
    (path / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nworker:x:1000:1001::/home/worker:/bin/sh\n")
    (path / "etc/group").write_text("root:x:0:\nworker:x:1001:\nlab:x:50:worker\n")
    (path / "data/plain").write_text("not a program\n")
    (path / "data/owned").mkdir()
    shutil.copy(busybox, path / "data/owned/busybox")
    (path / "data/owned/busybox").chmod(0o700)
    script = path / "data/script"
    script.write_text("#!/opt/none/interpreter\n")
    script.chmod(0o755)
    (path / "tmp").chmod(0o1777)
    subprocess.run(["chown", "-R", f"{owner}:{owner}", str(path)], check=True)
    return path


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


@dataclass
class Ran:
    exit: Exit
    output: str
    collected: Collected
    seconds: float


class Workbench:
    """A slot and a runtime: start one container, or run it to its end."""

    def __init__(
        self, slot: Slot | OneByOne, runtime: Runtime | OneByOne, image: Image, directory: Path, name: str
    ) -> None:
        self.slot, self.runtime, self.image = slot, runtime, image
        self.output = directory / f"output-{name}"
        self._file: int | None = None

    def start(
        self,
        *args: str,
        identity: Identity = ROOT,
        env: tuple[tuple[str, str], ...] = ENV,
        cwd: str = "/",
        needs: Capacity = NEEDS,
        workdir: str | None = None,
    ) -> Container:
        self.slot.prepare(self.image, needs, identity, workdir)
        spec = self.slot.spec(name="job-0", args=args, env=env, cwd=cwd, identity=identity)
        self._file = os.open(self.output, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        return self.runtime.start(spec, self._file)

    def finish(self, container: Container, started: float) -> Ran:
        ended = container.wait(DEADLINE_SECONDS)
        seconds = time.monotonic() - started
        if ended is None:
            container.kill()
            container.wait(DEADLINE_SECONDS)
        collected = self.slot.collect()
        self.slot.reset()
        assert self._file is not None
        os.close(self._file)
        text = self.output.read_text(errors="replace")
        assert ended is not None, f"still running after {DEADLINE_SECONDS} s, said: {text[-500:]}"
        return Ran(ended, text, collected, seconds)

    def run(self, *args: str, **wishes: object) -> Ran:
        started = time.monotonic()
        return self.finish(self.start(*args, **wishes), started)  # type: ignore[arg-type]

    def sh(self, script: str, **wishes: object) -> Ran:
        return self.run("sh", "-c", script, **wishes)


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
