import tempfile
from pathlib import Path

import pytest

from openhtc.embedded import open_view
from openhtc.embedded.open_view import closed_to_others, open_place


def test_one_closed_directory_on_the_way_is_enough() -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        top = Path(name)
        top.chmod(0o711)
        inner = top / "way" / "inner" / "not there yet"
        inner.parent.mkdir(parents=True)
        assert not closed_to_others(inner)
        (top / "way").chmod(0o700)
        assert closed_to_others(inner)


def test_a_place_hides_nothing_that_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = (tmp_path / "missing", tmp_path / "first", tmp_path / "second")
    for place in places[1:]:
        place.mkdir()
    monkeypatch.setattr(open_view, "PLACES", places)
    assert open_place(tmp_path / "elsewhere") == places[1]
    assert open_place(places[1] / "data") == places[2]
    with pytest.raises(FileNotFoundError):
        open_place(places[1] / "data", places[2])
