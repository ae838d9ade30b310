"""The load generator on the running service: every job is accounted for."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ...stack import Stack

ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.last


def measured(stack: Stack, folder: Path, *arguments: str) -> dict[str, Any]:
    written = folder / "figures.json"
    command = [sys.executable, "-m", "bench.control_plane", *arguments]
    done = subprocess.run(
        [*command, "--data", str(stack.data), "--json", str(written)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    figures: dict[str, Any] = json.loads(written.read_bytes())
    return figures


@pytest.mark.parametrize("style", ["apart", "together"])
def test_a_rate_is_measured_and_verified(stack: Stack, tmp_path: Path, style: str) -> None:
    found = measured(
        stack, tmp_path, "rate", "--jobs", "1500", "--bundle", "100", "--turns", "2", "--style", style
    )
    rates = found["jobs_per_second"]
    assert len(rates["all"]) == 2
    assert 0 < rates["min"] <= rates["median"] <= rates["max"]
    # No more processor time passes than there is: a part that is left out or counted twice shows.
    used = sum(
        found["cpu_us_per_job_all"][part][0] for part in ("server", "agent-server", "postgres", "load")
    )
    assert 0 < used * rates["all"][0] / 1e6 <= 1.2 * (os.cpu_count() or 1)
    assert found["cpu_us_per_job"]["agent-server"] > 0


def test_reads_are_measured_beside_a_steady_load(stack: Stack, tmp_path: Path) -> None:
    few = ["--jobs", "5000", "--finished", "3000", "--rate", "50", "--requests", "5"]
    found = measured(stack, tmp_path, "reads", *few)
    answers = found["answers"]
    assert {answer["count"] for answer in answers.values()} == {5}
    assert answers["FAILED"]["items"] == 6
    assert answers["logs"]["items"] == 10
    assert answers["RUNNING"]["items"] > 0
    assert answers["page of 1000"]["items"] == 1000
