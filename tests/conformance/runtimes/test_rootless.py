"""The whole sandbox as an ordinary user: the agent's way in, and one slot."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import openhtc

USER = 12345

PROGRAM = """
import json, os, sys
from pathlib import Path
from openhtc.agent.sandbox import mode
found = mode.enter()
from openhtc.agent.images.config import Identity, ImageConfig
from openhtc.agent.images.store import Image
from openhtc.agent.runtimes.choice import choose
from openhtc.agent.sandbox.sandbox import Sandbox
from openhtc.domain.work import Capacity
area = Path(sys.argv[1])
box = Sandbox(found, area / "data", forwards=[], outside=False)
if sys.argv[3] == "native":
    from native_bench import OneByOne
    runtime = slot = OneByOne(found, box, area, "0")
else:
    runtime, slot = choose("bubblewrap", found, area / "data"), box.slot("0")
image = Image("sha256:0", area / "rootfs", ImageConfig(), 0)
told = {"kind": found.kind, "missing": box.missing, "runs": []}
for uid, script in ((0, sys.argv[2]), (1000, sys.argv[2]), (0, "ls /tmp; exit 4")):
    who = Identity(uid, uid, (), "/")
    slot.prepare(image, Capacity(1, 64, 1), who, "/made")
    out = os.open(area / "out", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    env = (("PATH", "/bin"),)
    spec = slot.spec(name="j", args=("sh", "-c", script), env=env, cwd="/made", identity=who)
    end = runtime.start(spec, out).wait(60)
    assert end is not None
    full = slot.collect().disk_full
    slot.reset()
    told["runs"].append([end.exit_code, end.node_error, (area / "out").read_text(), full])
slot.close()
box.close()
print(json.dumps(told))
"""

SCRIPT = "id -u; grep CapEff /proc/self/status; touch mine /tmp/x && rm /etc/group && echo fine; ip -o link | wc -l; "
NETWORK = ("net/ipv4/ip_local_port_range", "net/ipv4/ip_unprivileged_port_start")
SETTINGS = {"native": ("kernel/shmmni", "fs/mqueue/msg_max", *NETWORK), "bubblewrap": NETWORK}
"""Those of namespaces that jobs share with the next one of the slot."""


def _script(runtime: str) -> str:
    names = " ".join(SETTINGS[runtime])
    return f"{SCRIPT} for n in {names}; do (echo 2000 > /proc/sys/$n) 2> /dev/null && echo can write $n; done; true"


def _python() -> str | None:
    """An interpreter of our version that an ordinary user may execute."""
    wanted = f"{sys.version_info.major}.{sys.version_info.minor}"
    for path in (sys.executable, f"/usr/bin/python{wanted}", f"/usr/local/bin/python{wanted}"):
        command = [
            "setpriv",
            f"--reuid={USER}",
            f"--regid={USER}",
            "--clear-groups",
            "env",
            path,
            "-c",
            "pass",
        ]
        if subprocess.run(command, capture_output=True, check=False, cwd="/").returncode == 0:
            return path
    return None


@pytest.mark.parametrize("name", ["native", "bubblewrap"])
def test_an_ordinary_user_runs_jobs(image, area, name):
    python = _python()
    if python is None or shutil.which("bwrap") is None:
        pytest.skip("no bwrap, or no Python of this version that an ordinary user may execute")
    home = area / f"rootless-{name}"
    home.mkdir()
    subprocess.run(["cp", "-a", str(image.rootfs), str(home / "rootfs")], check=True)
    subprocess.run(["chown", "-R", f"{USER}:{USER}", str(home)], check=True)
    done = _run(python, home, name)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["kind"] == "rootless"
    assert "memory, cpu and pids limits: no writable cgroup" in told["missing"]
    assert "disk limit is checked once a second, not enforced by the kernel" in told["missing"]
    for run, uid in zip(told["runs"], (0, 1000), strict=False):
        assert run == [0, None, f"{uid}\nCapEff:\t0000000000000000\nfine\n1\n", False]
    assert told["runs"][2] == [4, None, "", False]


def _run(python: str, home: Path, name: str) -> "subprocess.CompletedProcess[str]":
    packages = Path(sys.modules["msgspec"].__file__ or "").parent.parent
    source = Path(openhtc.__file__).parent.parent
    here = Path(__file__).parent
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{source}:{packages}:{here}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", python, "-c", PROGRAM]
    return subprocess.run(
        [*command, str(home), _script(name), name],
        env=env,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
