import os
from pathlib import Path

import pytest

from openhtc.domain.errors import SettingsError
from openhtc.embedded.layout import DATA_FORMAT, default_data_directory, open_layout


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_new_directory_is_made_and_found_again(tmp_path: Path) -> None:
    layout = open_layout(tmp_path / "a" / "b")
    assert layout.version.read_text().strip() == DATA_FORMAT
    assert mode(layout.root) == (0o711 if os.geteuid() == 0 else 0o700)
    assert mode(layout.logs) == mode(layout.run) == 0o700
    assert open_layout(tmp_path / "a" / "b") == layout


def test_another_version_is_refused_with_both_versions(tmp_path: Path) -> None:
    layout = open_layout(tmp_path)
    layout.version.write_text("77\n")
    with pytest.raises(SettingsError, match=f"format '77', this openhtc needs '{DATA_FORMAT}'"):
        open_layout(tmp_path)


def test_a_directory_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(SettingsError, match=r"holds thesis\.tex"):
        open_layout(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_in_the_way_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="cannot use the data directory"):
        open_layout(tmp_path / "file" / "data")


def test_an_interrupted_creation_is_completed(tmp_path: Path) -> None:
    (tmp_path / ".VERSION.x8f3").write_text("1")
    assert open_layout(tmp_path).version.exists()


def test_an_ordinary_user_has_a_directory_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_DATA_HOME", "/somewhere")
    assert default_data_directory() == Path("/somewhere/openhtc")
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", "/home/ada")
    assert default_data_directory() == Path("/home/ada/.local/share/openhtc")
