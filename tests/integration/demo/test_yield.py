"""The demo on a running service gives the numbers that the same programs give without it."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).resolve().parents[3] / "examples" / "circuit-yield"
JOBS = 12


@pytest.fixture(scope="module")
def credentials_file(tmp_path_factory: pytest.TempPathFactory, credentials: dict[str, str]) -> Path:
    path = tmp_path_factory.mktemp("demo") / "credentials.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps(credentials))
    return path


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(DEMO / program), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)


def test_results_of_jobs_equal_direct_simulation(tmp_path: Path, credentials_file: Path) -> None:
    done = run(
        "run.py",
        f"--credentials={credentials_file}",
        f"--jobs={JOBS}",
        f"--output-dir={tmp_path}",
        "--output=json",
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["jobs"], said["succeeded"], said["circuits"], said["missing"]) == (JOBS, JOBS, JOBS, 0)
    with (tmp_path / "results.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["index"] for line in lines] == [str(index) for index in range(JOBS)]
    assert said["passed"] == sum(line["outside"] == "" for line in lines)
    assert (tmp_path / "histogram.png").read_bytes().startswith(b"\x89PNG")
    rows = [str(index) for index in range(JOBS)]
    compared = run("direct.py", *rows, f"--against={tmp_path / 'results.csv'}")
    assert compared.returncode == 0, compared.stdout + compared.stderr
    assert compared.stdout == f"{JOBS} rows are the same\n"


def test_a_service_that_is_away_is_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "credentials.json"
    path.write_text(json.dumps({"base_url": "http://127.0.0.1:9/api/v1", "api_key": "none"}))
    done = run("run.py", f"--credentials={path}", "--jobs=1", f"--output-dir={tmp_path}")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("demo: http://127.0.0.1:9/api/v1 cannot be reached")
    assert "Traceback" not in done.stderr
