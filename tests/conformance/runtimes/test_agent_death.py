"""What is left of an agent's jobs when it is killed without a word."""

import subprocess
import sys
from pathlib import Path

import pytest

from openhtc.agent.runtimes.choice import choose
from openhtc.agent.sandbox import cgroups, linux
from openhtc.agent.sandbox.sandbox import Sandbox

PROGRAM = """
import os, sys, time
from pathlib import Path
from openhtc.agent.sandbox import mode
found = mode.enter()
from openhtc.agent.images.config import Identity, ImageConfig
from openhtc.agent.images.store import Image
from openhtc.agent.runtimes.choice import choose
from openhtc.agent.sandbox.sandbox import Sandbox
from openhtc.domain.work import Capacity
area, rootfs, name, outside = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4] == "outside"
box = Sandbox(found, area / "death", forwards=[], outside=outside)
if name == "native":
    sys.path.insert(0, sys.argv[5])
    from native_bench import OneByOne
    runtime = slot = OneByOne(found, box, area, "0")
else:
    runtime, slot = choose(name, found, area / "death"), box.slot("0")
who = Identity(0, 0, (), "/")
slot.prepare(Image("sha256:0", rootfs, ImageConfig(), 0), Capacity(1, 64, 1), who)
script = "(trap '' TERM HUP; setsid sleep 5432 &); echo ready; sleep 5432"
spec = slot.spec(name="j", args=("sh", "-c", script), env=(("PATH", "/bin"),), cwd="/", identity=who)
container = runtime.start(spec, 1)
container.wait(None)
"""


def _start(area: Path, image, name: str, outside: str) -> "subprocess.Popen[str]":
    here = str(Path(__file__).parent)
    command = [sys.executable, "-c", PROGRAM, str(area), str(image.rootfs), name, outside, here]
    agent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert agent.stdout is not None
    assert any(line == "ready\n" for line in agent.stdout), "the agent ended before its job said anything"
    return agent


def _left() -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[:2] == [b"sleep", b"5432"] or (
            words[0] == b"slirp4netns" and b"openhtc" not in b"".join(words)
        ):
            found.append(path.name)
    return found


@pytest.mark.parametrize("name", ["native", "bubblewrap"])
def test_containers_die_with_a_killed_agent(image, area, until, name):
    before = set(_left())
    agent = _start(area, image, name, "outside")
    assert set(_left()) - before
    agent.kill()
    agent.wait()
    until(lambda: not set(_left()) - before, lambda: set(_left()) - before)
    assert not list(Path("/sys/fs/cgroup").glob(f"*/{cgroups.scope(area / 'death/runc')}*"))
    assert f"{area}/death" not in Path("/proc/self/mounts").read_text()


def test_what_a_killed_agent_left_ends_with_the_next_one(image, area, mode, until):
    if not any(Path(path).exists() for path in ("/usr/sbin/runc", "/usr/bin/runc")):
        pytest.skip("the program runc is missing")
    before = set(_left())
    agent = _start(area, image, "runc", "inside")
    agent.kill()
    agent.wait()
    assert set(_left()) - before, "runc's containers outlive it"
    Sandbox(mode, area / "death", forwards=[], outside=False).close()
    choose("runc", mode, area / "death")
    linux.become_subreaper(False)
    until(lambda: not set(_left()) - before, lambda: set(_left()) - before)
    assert not list(Path("/sys/fs/cgroup").glob(f"*/{cgroups.scope(area / 'death/runc')}*"))
