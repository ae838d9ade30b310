import socket
from pathlib import Path

import pytest

from openhtc.domain.errors import SettingsError
from openhtc.embedded import ports
from openhtc.embedded.installation import open_installation, read_installation
from openhtc.embedded.layout import open_layout


def test_ports_and_secrets_stay(tmp_path: Path) -> None:
    layout = open_layout(tmp_path)
    first = open_installation(layout, None)
    assert first.ports.api == 8080
    assert open_installation(layout, None) == first
    assert layout.installation.stat().st_mode & 0o777 == 0o600


def test_another_api_port_is_remembered_and_nothing_else_changes(tmp_path: Path) -> None:
    layout = open_layout(tmp_path)
    first = open_installation(layout, 18080)
    moved = open_installation(layout, 18081)
    assert moved.ports.api == 18081
    assert moved.secrets == first.secrets
    assert moved.ports.s3 == first.ports.s3
    assert read_installation(layout) == open_installation(layout, None) == moved


def test_two_installations_share_no_port_and_no_secret(tmp_path: Path) -> None:
    first, second = (open_installation(open_layout(tmp_path / name), 18080) for name in "ab")
    used = [getattr(first.ports, name) for name in first.ports.__struct_fields__]
    assert len(set(used)) == len(used)
    assert first.secrets != second.secrets
    assert first.secrets.s3_secret_key not in repr(first)


def test_a_damaged_file_is_one_sentence(tmp_path: Path) -> None:
    layout = open_layout(tmp_path)
    layout.installation.write_text('{"ports": 3')
    with pytest.raises(SettingsError, match="is damaged"):
        open_installation(layout, None)


def test_a_taken_port_is_seen_and_named() -> None:
    with socket.create_server((ports.LOOPBACK, 0)) as server:
        taken = server.getsockname()[1]
        assert not ports.is_free(taken)
        with pytest.raises(SettingsError, match=f"registry needs port {taken} "):
            ports.require_free("registry", (taken,))
    assert ports.is_free(taken)


def test_chosen_ports_are_never_chosen_twice() -> None:
    taken: set[int] = set()
    chosen = [ports.choose(taken, with_grpc=True) for _ in range(20)]
    assert len(set(chosen)) == 20
    assert taken == set(chosen) | {port + ports.GRPC_OFFSET for port in chosen}
