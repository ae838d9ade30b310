"""Which directories may become a backup, and which moments one has."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from openhtc.backup.layout import BackupLayout, Stretch
from openhtc.domain.errors import InvalidRequest, SettingsError

NOON = datetime(2030, 1, 31, 12, tzinfo=UTC)


def made(root: Path) -> BackupLayout:
    backup = BackupLayout(root)
    backup.create()
    return backup


def test_a_first_run_that_failed_is_no_obstacle(tmp_path: Path) -> None:
    made(tmp_path / "new")
    made(tmp_path / "new").claim("7")
    with pytest.raises(SettingsError, match="of another installation"):
        made(tmp_path / "new").claim("8")


def test_what_is_something_else_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "letters").touch()
    tmp_path.chmod(0o755)
    with pytest.raises(SettingsError, match="holds no backup"):
        made(tmp_path)
    assert tmp_path.stat().st_mode & 0o777 == 0o755


def test_a_moment_between_two_runs_is_refused(tmp_path: Path) -> None:
    backup = made(tmp_path / "new")
    for hours in (0, 2):
        begin = NOON + timedelta(hours=hours)
        backup.new_run(f"run{hours}").note(Stretch(begin, begin + timedelta(hours=1)))
    backup.new_run("unfinished")
    assert backup.run_for(NOON)[0].root.name == "run0"
    assert backup.run_for(None) == (backup.run_for(NOON + timedelta(hours=3))[0], NOON + timedelta(hours=3))
    for moment in (NOON - timedelta(seconds=1), NOON + timedelta(hours=1.5), NOON + timedelta(hours=4)):
        with pytest.raises(
            InvalidRequest, match="cannot be restored: the backup has 2030-01-31T12:00:00Z to"
        ):
            backup.run_for(moment)
    backup.drop_unfinished()
    assert sorted(run.name for run in backup.runs.iterdir()) == ["run0", "run2"]
