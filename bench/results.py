"""What was measured, where and of which commit: one JSON file for each run."""

import os
import platform
import subprocess
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from openhtc.bench.figures import Figures


@dataclass
class Results:
    """Written anew after each step, so that an interrupted run leaves what it found."""

    path: Path
    about: Figures
    figures: dict[str, Figures] = field(default_factory=dict)

    @classmethod
    def new(cls, folder: Path) -> "Results":
        commit = _said("git", "rev-parse", "--short=12", "HEAD")
        now = datetime.now(UTC)
        folder.mkdir(parents=True, exist_ok=True)
        about: Figures = {
            "began": now.isoformat(timespec="seconds"),
            "commit": commit,
            "changed_since": bool(_said("git", "status", "--porcelain", "--untracked-files=no")),
            "machine": machine(),
        }
        return cls(folder / f"{now:%Y%m%d-%H%M%S}-{commit or 'unknown'}.json", about)

    @classmethod
    def read(cls, path: Path) -> "Results":
        found = msgspec.json.decode(path.read_bytes())
        return cls(path, found["about"], found["figures"])

    def add(self, step: str, found: Figures) -> None:
        self.figures[step] = {**found, "finished_at": datetime.now(UTC).isoformat(timespec="seconds")}
        whole = {"about": self.about, "figures": self.figures}
        fresh = self.path.with_suffix(".new")
        fresh.write_bytes(msgspec.json.format(msgspec.json.encode(whole), indent=1) + b"\n")
        fresh.replace(self.path)


def machine() -> Figures:
    """What decides how fast this machine is, and how busy it was when the measurement began."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": models[0] if models else platform.processor(),
        "cores": os.cpu_count() or 0,
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_before": [round(value, 2) for value in os.getloadavg()],
        "spawns_per_second": round(_spawn_rate()),
    }


def _spawn_rate(runs: int = 1000) -> float:
    """How fast one process starts another, one at a time: the yardstick of such machines."""
    began = time.monotonic()
    for _ in range(runs):
        os.waitpid(os.posix_spawn("/bin/true", ["/bin/true"], {}), 0)
    return runs / (time.monotonic() - began)


def _said(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""
