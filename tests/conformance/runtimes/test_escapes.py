"""What hostile jobs try: ask the kernel for what is not theirs, take all of something, leave things behind."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from openhtc.agent.images.config import Identity, ImageConfig
from openhtc.agent.images.store import Image
from openhtc.domain.work import Capacity

sys.path.insert(0, str(Path(__file__).parent))
from workbench import ROOT, build_rootfs

WORKER = Identity(1000, 1001, (50,), "/")
ATTEMPTS = 77
NEEDS = Capacity(1, 128, 1)


@pytest.fixture(scope="module")
def image(mode, area: Path) -> Image:
    """With the program that tries everything, and programs that would run as root if the image could say so."""
    rootfs = build_rootfs(area / "rootfs-escapes", mode.ids.base)
    source = Path(__file__).with_name("escapes.c")
    subprocess.run(["cc", "-O1", "-static", "-o", rootfs / "bin/escapes", source], check=True)
    (rootfs / "set-id").mkdir()
    shutil.copy(rootfs / "bin/busybox", rootfs / "set-id/busybox")
    (rootfs / "set-id/busybox").chmod(0o6755)
    return Image("sha256:" + "3" * 64, rootfs, ImageConfig(), 0)


@pytest.mark.parametrize("identity", [ROOT, WORKER], ids=["root", "worker"])
def test_nothing_is_possible(bench, runtime, identity: Identity, record_property) -> None:
    """The first process of the reference runtimes' containers is the job's own, and no secret to it."""
    ran = bench.run("escapes", identity=identity)
    assert ran.exit.exit_code == 0, ran.output
    record_property("attempts", ran.output)
    lines = ran.output.splitlines()
    own = ("read the first process", "read /proc/1/", "write /proc/1/") if runtime is not None else ()
    assert [line for line in lines if ": refused, E" not in line and not line.startswith(own)] == []
    assert len(lines) == ATTEMPTS


def test_a_set_user_id_program_of_the_image_gives_nothing(bench) -> None:
    assert bench.run("/set-id/busybox", "id", "-u", identity=WORKER).output == "1000\n"
    assert bench.run("/set-id/busybox", "id", "-g", identity=WORKER).output == "1001\n"
    made = "mkdir /tmp/own; cp /bin/busybox /tmp/own/busybox; chmod 6755 /tmp/own/busybox; /tmp/own/busybox id -u"
    assert bench.sh(made, identity=WORKER).output.split()[-1] == "1000"


TAKERS = {
    "processes": ":(){ :|:& };: 2>/dev/null; sleep 1",
    "memory": "x=a; while :; do x=$x$x; done",
    "disk": "cat /dev/zero > /tmp/all",
    "inodes": "i=0; while touch /tmp/f$i 2>/dev/null && [ $i -lt 200000 ]; do i=$((i+1)); done; ls /tmp | wc -l",
    "descriptors": 'i=3; while eval "exec $i</dev/null" 2>/dev/null; do i=$((i+1)); done; echo $i',
    "shared memory": "cat /dev/zero > /dev/shm/all",
}


@pytest.mark.parametrize("what", TAKERS)
def test_who_takes_all_of_something_harms_no_neighbour(bench_maker, what: str) -> None:
    greedy, neighbour = bench_maker("greedy"), bench_maker("neighbour")
    container = greedy.start("sh", "-c", TAKERS[what], needs=NEEDS)
    began = time.monotonic()
    try:
        for _ in range(5):
            ran = neighbour.sh("head -c 1000000 /dev/zero > /tmp/x && (echo fine; true) | cat", needs=NEEDS)
            assert (ran.exit.exit_code, ran.output) == (0, "fine\n")
            assert ran.seconds < 10
            time.sleep(0.2)
    finally:
        if container.wait(10) is None:
            container.kill()
        greedy.finish(container, began)
    for _ in range(5):
        after = greedy.sh("touch /tmp/x; ls -A /tmp", needs=NEEDS)
        if after.exit.exit_code == 0:  # a slot that has to empty its disk begins anew in between
            break
    assert after.output == "x\n", "the next job meets nothing of it"


def test_daemons_that_ignore_every_signal_end_with_their_job(bench, until) -> None:
    script = "for n in 1 2 3; do (trap '' TERM HUP INT; setsid sh -c \"trap '' TERM HUP; sleep 8761\" &) ; done; exit 0"
    assert bench.sh(script).exit.exit_code == 0
    until(lambda: not _sleepers(), _sleepers)


def _sleepers() -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cmdline").read_bytes() == b"sleep\x008761\x00":
                found.append(process.name)
        except OSError:
            continue
    return found
