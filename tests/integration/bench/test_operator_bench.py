"""`openhtc bench` on the running service, and what `make bench` compares it with."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bench.control_plane.durability import NotDurable, durability
from bench.control_plane.stack import Stack as Measured
from bench.end_to_end.contenders import ContenderFailed, contenders, hyperqueue

from ...stack import Api, Stack, User, ok

ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.last


def openhtc_bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "openhtc.cli.main", "bench", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)


def credentials_of(stack: Stack, user: User, folder: Path) -> Path:
    file = folder / "credentials.json"
    file.write_text(json.dumps({"base_url": stack.base_url, "api_key": user.api_key}))
    return file


def test_a_user_measures_the_service(stack: Stack, alice: User, alice_api: Api, tmp_path: Path) -> None:
    file = credentials_of(stack, alice, tmp_path)
    few = ("--jobs", "300", "--turns", "2", "--tries", "3")
    done = openhtc_bench("rate", "delays", "questions", *few, "--credentials", str(file), "--output", "json")
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert set(found) == {"rate", "delays", "questions"}
    rates = found["rate"]["jobs_per_second"]
    assert len(rates["all"]) == 2 and 0 < rates["min"] <= rates["median"] <= rates["max"]
    for delay in found["delays"].values():
        assert delay["count"] == 3 and 0 < delay["p50_ms"] < 30_000
    assert found["questions"]["answers"]["page of 1000"]["items"] == 300
    assert "turn 2 of 2" in done.stderr
    projects = ok(alice_api.get("/htc/projects?onlyMyProjects=true"))["items"]
    (project,) = [each for each in projects if each["projectName"] == "openhtc bench"]
    tasks = ok(alice_api.get(f"/htc/projects/{project['projectId']}/tasks"))["items"]
    assert {task["lifecycleStatus"] for task in tasks} == {"DELETED"}


def test_a_measurement_that_does_not_exist_is_named() -> None:
    done = openhtc_bench("speed")
    assert done.returncode == 2
    assert "speed" in done.stderr and "rate, delays, share, questions" in done.stderr


def test_without_credentials_it_says_which_file_is_missing(tmp_path: Path) -> None:
    done = openhtc_bench("--data", str(tmp_path))
    assert done.returncode == 2
    assert str(tmp_path / "credentials.json") in done.stderr


def test_every_other_runner_runs(tmp_path: Path) -> None:
    found = {each.name: each.turn() for each in contenders(tmp_path / "others", 50)}
    assert {"a loop of posix_spawn", "HyperQueue", "HyperQueue, bubblewrap", "bubblewrap", "runc"} <= set(
        found
    )
    assert all(rate > 0 for rate in found.values())


def test_tasks_that_fail_are_no_figures() -> None:
    with pytest.raises(ContenderFailed, match="have failed"):
        hyperqueue(10, 1, ("/bin/false",))


def test_figures_need_a_durable_database(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = Measured(stack.data, stays=True)
    assert durability(measured)["synchronous_commit"] == "on"
    url = measured.database_url
    monkeypatch.setattr(Measured, "database_url", f"{url}?options=-c%20synchronous_commit%3Doff")
    with pytest.raises(NotDurable, match="off"):
        durability(measured)
