import tomllib
from pathlib import Path

import pytest

from openhtc.embedded.foundation import make_foundation
from openhtc.embedded.installation import open_installation
from openhtc.embedded.layout import open_layout
from openhtc.embedded.options import UpOptions
from openhtc.embedded.settings_files import overrides, server_values, toml, write_settings
from openhtc.settings.agent import AgentSettings
from openhtc.settings.server import ServerSettings
from openhtc.settings.source import load


def test_both_programs_accept_what_is_written(tmp_path: Path) -> None:
    layout = open_layout(tmp_path)
    installation = open_installation(layout, 18080)
    foundation = make_foundation(layout, installation)
    options = UpOptions(data=tmp_path, vcpus=3, memory_mib=512, runtime="runc", network="services")
    write_settings(layout, installation, foundation, options)

    server = load(ServerSettings, layout.server_settings, {})
    assert server.listen_port == 18080
    assert server.database_url == foundation.postgres.url
    assert server.registry_host == foundation.registry.host
    agent = load(AgentSettings, layout.agent_settings, {})
    assert (agent.vcpus, agent.memory_mib, agent.runtime, agent.network) == (3, 512, "runc", "services")
    for path in (layout.server_settings, layout.agent_settings):
        assert path.stat().st_mode & 0o777 == 0o600


def test_text_survives_as_toml() -> None:
    values = {"quoted": 'a "b" \\c', "line": "one\ntwo\x01", "umlaut": "ä", "number": 7}
    assert tomllib.loads(toml(values).decode()) == values


def test_the_installation_decides_over_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = open_layout(tmp_path)
    installation = open_installation(layout, 18080)
    monkeypatch.setenv("OPENHTC_DATABASE_URL", "postgresql://production")
    monkeypatch.setenv("OPENHTC_LEASE_SECONDS", "5")
    found = overrides(server_values(installation, make_foundation(layout, installation)))
    assert found.get("OPENHTC_LEASE_SECONDS") == "5"
    assert "OPENHTC_DATABASE_URL" not in found
