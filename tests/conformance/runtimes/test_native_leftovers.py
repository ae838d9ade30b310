"""What a job leaves behind that outlives its processes: the next job of the slot, and others, do not meet it."""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from openhtc.agent.images.config import ImageConfig
from openhtc.agent.images.store import Image
from openhtc.agent.native import frames, program
from openhtc.domain.work import Capacity

sys.path.insert(0, str(Path(__file__).parent))
from native_bench import OneByOne
from workbench import Workbench, build_rootfs

NEEDS = Capacity(1, 256, 1)
PORT = 8765


@pytest.fixture(scope="module")
def image(mode, area: Path) -> Image:
    rootfs = build_rootfs(area / "rootfs-leaver", mode.ids.base)
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler is not None
    source = Path(__file__).with_name("leaver.c")
    subprocess.run([compiler, "-O1", "-static", "-o", rootfs / "bin/leaver", source], check=True)
    return Image("sha256:" + "2" * 64, rootfs, ImageConfig(), 0)


@pytest.fixture
def new_bench(
    mode, sandbox, image: Image, area: Path, tmp_path: Path
) -> Iterator[Callable[[str], Workbench]]:
    made: list[OneByOne] = []

    def make(name: str) -> Workbench:
        slot = OneByOne(mode, sandbox, area, f"left-{name}")
        made.append(slot)
        return Workbench(slot, slot, image, tmp_path, name)

    yield make
    for slot in made:
        slot.close()


def run(bench: Workbench, *words: str):
    return bench.run("leaver", *words, needs=NEEDS)


@pytest.mark.parametrize("depth", [0, 30])
def test_memory_in_sockets_is_gone_before_the_next_job_begins(new_bench, depth: int) -> None:
    bench = new_bench("memory")
    for _ in range(3):
        assert run(bench, "sockets", str(depth), "150").exit.exit_code == 0
        assert run(bench, "take", "200").exit.exit_code == 0


def test_a_port_in_sockets_is_free_for_the_next_job(new_bench) -> None:
    bench = new_bench("port")
    for _ in range(3):
        assert run(bench, "port", "20", str(PORT)).exit.exit_code == 0
        assert run(bench, "listen", str(PORT)).exit.exit_code == 0


def test_a_slot_rests_as_long_as_much_is_left_in_sockets(new_bench) -> None:
    bench = new_bench("rest")
    began = time.monotonic()
    ran = run(bench, "sockets", "400", "100")
    assert ran.exit.exit_code == 0
    assert bench.slot.ended_with == program.RESTED, "the program ends once nothing is left"
    assert 0.2 < time.monotonic() - began - ran.seconds < 60


def test_a_resting_slot_says_so_before_the_end_of_the_job(new_bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = new_bench("says")
    container = bench.start("leaver", "sockets", "400", "1", needs=NEEDS)
    kinds: list[int] = []
    feed = frames.Reader.feed

    def listen(reader: frames.Reader, data: bytes):
        for frame in feed(reader, data):
            kinds.append(frame[0])
            yield frame

    monkeypatch.setattr(frames.Reader, "feed", listen)
    assert container.wait(30) is not None
    assert [kind for kind in kinds if kind in (frames.Kind.RESTING, frames.Kind.ENDED)] == [
        frames.Kind.RESTING,
        frames.Kind.ENDED,
    ]


def test_shared_memory_of_a_killed_job_is_gone_before_the_next_job_begins(new_bench) -> None:
    bench = new_bench("shared")
    for _ in range(10):
        assert run(bench, "shared", "150").exit.exit_code == 128 + signal.SIGKILL
        ran = run(bench, "take", "200")
        assert (ran.exit.exit_code, ran.collected.oom_kills) == (0, 0)


def test_single_bytes_reach_the_agent_in_larger_pieces(new_bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench, pieces = new_bench("bytes"), 0
    feed = frames.Reader.feed

    def listen(reader: frames.Reader, data: bytes):
        nonlocal pieces
        for frame in feed(reader, data):
            pieces += frame[0] == frames.Kind.OUTPUT
            yield frame

    monkeypatch.setattr(frames.Reader, "feed", listen)
    assert run(bench, "bytes", "20000").output == "x" * 20000
    assert pieces < 2000


def test_slots_do_not_share_what_the_kernel_counts_for_a_user(new_bench) -> None:
    one, other = new_bench("one"), new_bench("other")
    taking = one.start("leaver", "watches", needs=NEEDS)
    deadline = time.monotonic() + 20
    while not one.output.read_text().strip():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    taken = int(one.output.read_text())
    container = other.start("leaver", "watches", needs=NEEDS)
    while not other.output.read_text().strip():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert int(other.output.read_text()) == taken > 0
    for each in (taking, container):
        each.kill()
        assert each.wait(20) is not None
