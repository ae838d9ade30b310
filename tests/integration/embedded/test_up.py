"""The commands `openhtc up`, `down` and `status` as a person types them."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from openhtc.embedded.child import read_record
from openhtc.embedded.ports import LOOPBACK, choose
from openhtc.lifecycle.identity import ProcessIdentity

PARTS = ["supervisor", "postgres", "s3", "registry", "server", "agent-server", "agent"]


def openhtc(*arguments: str, seconds: float = 150) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "openhtc.cli.main", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
    )


class Installation:
    """A data directory and a port, and the commands on them."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.port = choose(set())

    def up(self) -> subprocess.CompletedProcess[str]:
        size = ("--vcpus", "1", "--memory-mib", "256")
        return openhtc("up", "--data", str(self.data), "--port", str(self.port), "--detach", *size)

    def down(self) -> subprocess.CompletedProcess[str]:
        return openhtc("down", "--data", str(self.data))

    def status(self) -> tuple[int, dict[str, Any]]:
        done = openhtc("status", "--data", str(self.data), "--output", "json")
        return done.returncode, json.loads(done.stdout)

    def credentials(self) -> dict[str, str]:
        path = self.data / "credentials.json"
        assert path.stat().st_mode & 0o777 == 0o600
        found: dict[str, str] = json.loads(path.read_bytes())
        return found

    def process(self, part: str) -> ProcessIdentity:
        record = read_record(self.data / "run" / f"{part}.json")
        assert record is not None, part
        return record.identity

    def whoami(self, api_key: str) -> int:
        """The status of a request under this key."""
        url = f"{self.credentials()['base_url']}/auth/whoami"
        return httpx.get(url, headers={"Authorization": f"Token {api_key}"}, trust_env=False).status_code


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    made = Installation(tmp_path / "data")
    yield made
    if made.data.exists():
        made.down()


def assert_all_healthy(installation: Installation) -> dict[str, Any]:
    code, report = installation.status()
    assert [part["name"] for part in report["parts"]] == PARTS
    assert [part for part in report["parts"] if not part["healthy"]] == []
    assert all(part["pid"] and part["address"] for part in report["parts"])
    assert code == 0
    return report


def test_a_life_of_the_service(installation: Installation) -> None:
    started = installation.up()
    assert started.returncode == 0, started.stdout + started.stderr
    assert str(installation.data / "credentials.json") in started.stdout
    report = assert_all_healthy(installation)
    assert isinstance(report["limits_missing"], list)
    first = installation.credentials()
    assert first["base_url"] == f"http://{LOOPBACK}:{installation.port}/api/v1"
    assert first["registry"] == next(
        part["address"].removeprefix("http://") for part in report["parts"] if part["name"] == "registry"
    )
    assert installation.whoami(first["api_key"]) == 200

    again = openhtc("up", "--data", str(installation.data), "--detach")
    assert again.returncode == 2
    assert "is in use by process" in again.stderr

    # Killed in the middle: everything goes, and comes back as it was.
    processes = {name: installation.process(name) for name in PARTS}
    assert processes["supervisor"].signal(signal.SIGKILL)
    for name, process in processes.items():
        assert process.wait_gone(20), name
    code, report = installation.status()
    assert code == 1
    assert [part["pid"] for part in report["parts"]] == [None] * len(PARTS)
    assert installation.up().returncode == 0
    assert installation.credentials() == first
    assert installation.whoami(first["api_key"]) == 200

    # Credentials that were lost are made anew, and the lost key is worth nothing any more.
    assert installation.down().returncode == 0
    (installation.data / "credentials.json").unlink()
    assert installation.up().returncode == 0
    second = installation.credentials()
    assert second["workspace_id"] == first["workspace_id"]
    assert installation.whoami(second["api_key"]) == 200
    assert installation.whoami(first["api_key"]) == 401
    assert_all_healthy(installation)

    stopped = installation.down()
    assert (stopped.returncode, "stopped" in stopped.stdout) == (0, True)
    nothing = installation.down()
    assert (nothing.returncode, "nothing runs" in nothing.stdout) == (0, True)


def test_an_interrupt_stops_the_foreground_in_order(installation: Installation) -> None:
    with subprocess.Popen(
        [
            *(sys.executable, "-m", "openhtc.cli.main", "up", "--data", str(installation.data)),
            *("--port", str(installation.port), "--vcpus", "1", "--memory-mib", "256"),
        ],
        stdout=subprocess.PIPE,
        text=True,
    ) as service:
        assert service.stdout is not None
        shown = []
        for line in service.stdout:
            shown.append(line)
            if "Ctrl-C" in line:
                service.send_signal(signal.SIGINT)
        assert service.wait(60) == 0, shown
    stopped = [line.split()[0] for line in shown if " stopped " in line]
    assert stopped[0] == "agent"
    assert set(stopped[1:3]) == {"agent-server", "server"}
    assert sorted(stopped[3:]) == ["postgres", "registry", "s3"]
    assert list((installation.data / "run").iterdir()) == []


def test_a_taken_port_is_one_line(installation: Installation) -> None:
    with socket.create_server((LOOPBACK, installation.port)):
        done = installation.up()
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"openhtc: server needs port {installation.port} on {LOOPBACK}, and another program listens on it"
    ]


def test_a_directory_of_another_version_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "VERSION").write_text("0\n")
    for verb in ("up", "down", "status"):
        done = openhtc(verb, "--data", str(tmp_path))
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1
        assert "has format '0'" in done.stderr


def test_a_directory_without_an_installation_is_one_line(tmp_path: Path) -> None:
    for verb in ("down", "status"):
        done = openhtc(verb, "--data", str(tmp_path / "nothing"))
        assert done.returncode == 2
        assert done.stderr == f"openhtc: {tmp_path / 'nothing'} holds no installation of openhtc\n"
    assert not (tmp_path / "nothing").exists()
