"""The table of circuits, and the program that a job runs, as far as it goes without an image."""

import csv
import random
import subprocess
from pathlib import Path

import make_parameters
import pytest

JOB = Path(make_parameters.__file__).parent / "job"


def table() -> list[dict[str, str]]:
    with (JOB / "parameters.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_is_what_its_seed_makes() -> None:
    source = random.Random(make_parameters.SEED)
    assert table() == [make_parameters.draw(index, source) for index in range(make_parameters.ROWS)]


def test_the_netlist_uses_every_column() -> None:
    netlist = (JOB / "netlist.cir").read_text()
    for column in set(table()[0]) - {"index", "temp"}:
        assert f"{{{column}}}" in netlist or f"{{{column}/" in netlist, column


@pytest.mark.parametrize("row", ["1000", "-1", "x", ""])
def test_a_row_that_does_not_exist_is_refused(tmp_path: Path, row: str) -> None:
    done = subprocess.run(
        [JOB / "simulate.sh", row, "result.json"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "not in parameters.csv" in done.stderr
    assert not (tmp_path / "result.json").exists()


def test_a_simulator_that_fails_fails_the_job(tmp_path: Path) -> None:
    broken = tmp_path / "bin" / "ngspice"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\necho singular matrix\nexit 7\n")
    broken.chmod(0o755)
    done = subprocess.run(
        [JOB / "simulate.sh", "3", "result.json"],
        cwd=tmp_path,
        env={"PATH": f"{broken.parent}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr.splitlines()) == (
        3,
        ["singular matrix", "simulate.sh: row 3: ngspice ended with 7"],
    )


def test_a_measure_that_is_missing_fails_the_job(tmp_path: Path) -> None:
    partial = tmp_path / "bin" / "ngspice"
    partial.parent.mkdir()
    partial.write_text("#!/bin/sh\necho gain_db = failed\necho bandwidth_hz = 1e6\n")
    partial.chmod(0o755)
    done = subprocess.run(
        [JOB / "simulate.sh", "3", "result.json"],
        cwd=tmp_path,
        env={"PATH": f"{partial.parent}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 4
    assert "a measure is missing" in done.stderr


def test_outside_a_job_the_program_says_what_it_misses() -> None:
    done = subprocess.run(
        [JOB / "job.sh"], env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "AWS_BATCH_JOB_ARRAY_INDEX: is not set" in done.stderr
