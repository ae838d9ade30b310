from itertools import chain
from pathlib import Path
from typing import get_args

import pytest

from openhtc.domain.errors import SettingsError
from openhtc.embedded import programs
from openhtc.embedded.options import RuntimeName


def test_a_missing_program_names_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(programs, "SYSTEM_PATH", str(tmp_path))
    with pytest.raises(SettingsError, match="bwrap is missing: install the Debian package bubblewrap"):
        programs.find_program("bwrap")


def test_every_program_that_can_be_missing_has_a_package() -> None:
    wanted = {"setpriv", "unshare", "docker-registry", *chain(*programs.RUNTIME_PROGRAMS.values())}
    assert wanted <= programs.PACKAGES.keys()
    assert set(get_args(RuntimeName)) == programs.RUNTIME_PROGRAMS.keys()


def test_the_newest_postgresql_is_taken(tmp_path: Path) -> None:
    for version in ("9.6", "15", "17"):
        (tmp_path / version / "bin").mkdir(parents=True)
        (tmp_path / version / "bin" / "postgres").touch()
    (tmp_path / "18" / "bin").mkdir(parents=True)  # its client programs only
    assert programs.find_postgres(tmp_path) == tmp_path / "17" / "bin"


def test_an_old_postgresql_is_none(tmp_path: Path) -> None:
    (tmp_path / "13" / "bin").mkdir(parents=True)
    (tmp_path / "13" / "bin" / "postgres").touch()
    with pytest.raises(SettingsError, match="PostgreSQL 15 or newer"):
        programs.find_postgres(tmp_path)
