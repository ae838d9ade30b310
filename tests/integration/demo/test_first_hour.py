"""The guide to the first hour does what it says."""

import os
import re
import subprocess
from pathlib import Path

from ...stack import Stack

GUIDE = Path(__file__).parents[3] / "docs" / "first-hour.md"


def test_every_step_of_the_guide(stack: Stack) -> None:
    text = GUIDE.read_text()
    script = "set -euo pipefail\n" + "\n".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL))
    done = subprocess.run(
        ["bash", "-c", script],
        env={"PATH": os.environ["PATH"], "DATA": str(stack.data)},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    shown = "\n".join(re.findall(r"```text\n(.*?)```", text, re.DOTALL)).splitlines()
    for line in shown:
        pieces = [re.escape(piece) for piece in line.replace(",…,", "…").split("…")]
        assert re.search(".*".join(pieces), done.stdout), f"the guide promises {line}\n{done.stdout}"
