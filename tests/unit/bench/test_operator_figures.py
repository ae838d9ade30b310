"""The arithmetic of `openhtc bench`, and its image."""

import subprocess
from pathlib import Path

import pytest

from openhtc.bench import image
from openhtc.bench.share import _most_at_once
from openhtc.bench.suite import rows
from openhtc.client.images.layout import unpack
from openhtc.domain.errors import SettingsError


def test_spans_that_only_touch_do_not_overlap() -> None:
    assert _most_at_once([(0, 1), (1, 2), (2, 3)]) == 1
    assert _most_at_once([(0, 2), (1, 3), (1.5, 1.6), (4, 5)]) == 3
    assert _most_at_once([]) == 0


def test_the_table_has_a_row_for_each_spread_and_each_set_of_times() -> None:
    figures = {
        "rate": {
            "jobs": 10,
            "jobs_per_second": {"median": 5.0, "min": 4.0, "max": 6.0, "all": [4.0, 5.0, 6.0]},
        },
        "delays": {
            "seen": {"count": 2, "p50_ms": 1.0, "p95_ms": 2.0, "p99_ms": 3.0, "max_ms": 3, "all_ms": []}
        },
    }
    assert list(rows(figures)) == [
        ("rate, jobs per second", "5", "4 to 6"),
        ("delays, seen, p50", "1 ms", "p95 2 ms, p99 3 ms"),
    ]


def test_the_image_holds_programs_that_start_by_themselves(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    unpack(image.build(tmp_path / "layout"), root)
    for loader in root.glob("lib64/ld-*"):
        command = [
            loader,
            "--inhibit-cache",
            "--library-path",
            str(root / "lib/x86_64-linux-gnu"),
            root / "bin/true",
        ]
        assert subprocess.run(command, env={}, check=False).returncode == 0
    assert (root / "bin/sleep").stat().st_mode & 0o111
    needed = subprocess.run(["ldd", "/bin/true"], capture_output=True, text=True, check=False).stdout
    libraries = [word for word in needed.split() if word.startswith("/")]
    assert all((root / library.lstrip("/")).is_file() for library in libraries)


def test_the_same_programs_make_the_same_image(tmp_path: Path) -> None:
    assert image.build(tmp_path / "one").digest == image.build(tmp_path / "other").digest


def test_a_program_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no-such-program"):
        image.build(tmp_path / "image", ["no-such-program"])
