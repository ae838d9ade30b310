"""A slot with a runtime, and a BusyBox root file system to run programs from."""

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from openhtc.agent.images.config import Identity
from openhtc.agent.images.store import Image
from openhtc.agent.runtimes.base import Container, Exit, Runtime
from openhtc.agent.sandbox.slot import Collected, Slot
from openhtc.domain.work import Capacity

sys.path.insert(0, str(Path(__file__).parent))
from native_bench import OneByOne

DEADLINE_SECONDS = 60.0
ENV = (("PATH", "/bin"),)
ROOT = Identity(0, 0, (), "/")
NEEDS = Capacity(2, 256, 1)


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
