"""Who runs the same program, Debian's /bin/true, besides the service."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from openhtc.bench import image
from openhtc.client.images.layout import unpack
from openhtc.domain.errors import OpenhtcError

TRUE = "/bin/true"
_SECONDS = 900


class ContenderFailed(OpenhtcError):
    code = "CONTENDER_FAILED"


@dataclass(frozen=True, slots=True)
class Contender:
    """``runs``: how many of the runs make one turn, so that a turn lasts some seconds."""

    name: str
    command: tuple[str, ...]
    runs: int
    needs: str = ""
    """The program without which it is left out."""

    @property
    def is_here(self) -> bool:
        return not self.needs or shutil.which(self.needs) is not None

    def turn(self) -> float:
        """Runs a second, two at a time. Raises ContenderFailed."""
        if self.name.startswith("HyperQueue"):
            return self.runs / hyperqueue(self.runs, 2, self.command)["seconds"]
        return self.runs / float(_module("loops", str(self.runs), *self.command))


def hyperqueue(tasks: int, cores: int, command: tuple[str, ...]) -> dict[str, float]:
    """See hyperqueue.py. Raises ContenderFailed."""
    said: dict[str, float] = json.loads(_module("hyperqueue", str(tasks), str(cores), *command))
    return said


def _module(name: str, *words: str) -> str:
    """The last line that a module of this folder prints, run in a process of its own."""
    command = [sys.executable, "-m", f"bench.end_to_end.{name}", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS)
    if done.returncode != 0:
        raise ContenderFailed(f"{' '.join(command)}: {done.stderr.strip()[-500:]}")
    return done.stdout.strip().rpartition("\n")[2]


def contenders(folder: Path, runs: int) -> list[Contender]:
    """Those that are on this machine, with the image of the measurement unpacked below ``folder``, which is made."""
    root = folder / "rootfs"
    root.mkdir(parents=True)
    unpack(image.build(folder / "image"), root)
    bubblewrap = _bubblewrap(root)
    known = [
        Contender("a loop of posix_spawn", (TRUE,), runs),
        Contender("HyperQueue", (TRUE,), runs),
        Contender("HyperQueue, bubblewrap", bubblewrap, runs, "bwrap"),
        Contender("bubblewrap", bubblewrap, max(50, runs // 5), "bwrap"),
        Contender("runc", _runc(folder / "runc", root), max(20, runs // 25), "runc"),
        Contender("podman", _podman(root), max(6, runs // 250), "podman"),
    ]
    return [each for each in known if each.is_here]


def _bubblewrap(root: Path) -> tuple[str, ...]:
    """All namespaces new, as for a job; without limits, a system call filter or a layer to write to."""
    mounts = ("--ro-bind", str(root), "/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp")  # noqa: S108
    return (shutil.which("bwrap") or "bwrap", "--unshare-all", "--die-with-parent", *mounts, TRUE)


def _runc(bundle: Path, root: Path) -> tuple[str, ...]:
    """What `runc spec` writes, with our root file system and program, and no terminal."""
    if (runc := shutil.which("runc")) is None:
        return ("runc",)
    bundle.mkdir()
    subprocess.run([runc, "spec"], cwd=bundle, check=True, timeout=60)
    config = json.loads((bundle / "config.json").read_bytes())
    config["root"] = {"path": str(root), "readonly": True}
    config["process"].update(args=[TRUE], terminal=False, rlimits=[])
    (bundle / "config.json").write_text(json.dumps(config))
    return (
        runc,
        "--root",
        str(bundle / "state"),
        "run",
        "--bundle",
        str(bundle),
        f"bench-{os.getpid()}-{{}}",
    )


def _podman(root: Path) -> tuple[str, ...]:
    """Without a network: with one it takes longer still. Raising limits is more than some machines allow."""
    limits = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")
    return (
        "podman",
        "run",
        "--rm",
        "--runtime",
        "runc",
        "--network",
        "none",
        *limits,
        "--rootfs",
        str(root),
        TRUE,
    )
