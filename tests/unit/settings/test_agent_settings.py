"""The agent's settings: defaults and refusals."""

from pathlib import Path

import pytest

from openhtc.agent.capacity import node_capacity
from openhtc.domain.errors import SettingsError
from openhtc.settings.agent import AgentSettings
from openhtc.settings.source import load

ENOUGH = {"OPENHTC_SERVER_URL": "http://127.0.0.1:8080", "OPENHTC_KEY": "k"}


def test_url_and_key_are_enough(tmp_path: Path) -> None:
    settings = load(AgentSettings, None, {**ENOUGH, "OPENHTC_DATA_DIR": str(tmp_path)})
    capacity = node_capacity(settings)
    assert capacity.vcpus >= 1
    assert capacity.memory_mib > 100
    assert capacity.disk_gib >= 1
    assert settings.agent_key() == "k"
    assert settings.node_name


def test_the_key_may_be_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("secret\n")
    environ = {"OPENHTC_SERVER_URL": "http://h", "OPENHTC_KEY_FILE": str(tmp_path / "key")}
    assert load(AgentSettings, None, environ).agent_key() == "secret"
    (tmp_path / "key").write_text("\n")
    with pytest.raises(SettingsError, match="is empty"):
        load(AgentSettings, None, environ).agent_key()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"OPENHTC_SERVER_URL": "127.0.0.1:8080"}, "server_url is '127.0.0.1:8080'"),
        ({"OPENHTC_SERVER_URL": "http://h/path"}, "expected an origin"),
        ({"OPENHTC_KEY_FILE": "/k"}, "exactly one of key and key_file"),
        ({"OPENHTC_VCPUS": "0"}, "OPENHTC_VCPUS is '0'"),
        ({"OPENHTC_RUNTIME": "docker"}, "OPENHTC_RUNTIME is 'docker'"),
        ({"OPENHTC_REGIONS": "MARS_1"}, "OPENHTC_REGIONS is ['MARS_1']"),
        ({"OPENHTC_ARCHITECTURE": "SPARC"}, "OPENHTC_ARCHITECTURE is 'SPARC'"),
        ({"OPENHTC_MACHINE_TYPE": "x" * 129}, "OPENHTC_MACHINE_TYPE is 'xxx"),
        ({"OPENHTC_FORWARD": "localhost"}, "forward has 'localhost': expected host:port"),
        ({"OPENHTC_FORWARD": "h:70000"}, "expected host:port"),
        ({"OPENHTC_STOP_GRACE_SECONDS": "-1"}, "OPENHTC_STOP_GRACE_SECONDS is '-1'"),
    ],
)
def test_refusals(change: dict[str, str], words: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load(AgentSettings, None, {**ENOUGH, **change})
    assert words in str(refused.value)
