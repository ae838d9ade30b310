"""Layers made to get out of the image's root, or to leave something in it that should not be there."""

import gzip
import io
import stat
import tarfile
from pathlib import Path

import pytest

from openhtc.agent.images.errors import ImageError
from openhtc.agent.images.unpack import unpack
from openhtc.agent.sandbox.files import remove_tree
from openhtc.agent.sandbox.ids import FIRST_HOST_ID, IdMap

MAX_BYTES = 64 << 20
FILE, LINK, HARD, FOLDER = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE

Entry = tuple[str, bytes, str]
"""Name, type, and the content of a file or the target of a link."""


def layer(place: Path, *entries: Entry, mode: int = 0o755) -> Path:
    with tarfile.open(place, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, kind, content in entries:
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = kind, mode
            if kind in (LINK, HARD):
                entry.linkname = content
                archive.addfile(entry)
            else:
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content.encode()))
    return place


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    made.mkdir()
    return made


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory beside the root whose content nobody may touch."""
    made = tmp_path / "outside"
    made.mkdir()
    (made / "precious").write_text("precious")
    return made


def unpacked(root: Path, *layers: Path) -> int:
    return unpack(list(layers), root, IdMap.privileged(), MAX_BYTES, 0)


@pytest.mark.parametrize(
    "entry",
    [
        ("../outside/planted", FILE, "x"),
        ("a/../../outside/planted", FILE, "x"),
        ("hard", HARD, "../outside/precious"),
        (".wh...", FILE, ""),
        ("../outside/.wh.precious", FILE, ""),
        ("../outside/.wh..wh..opq", FILE, ""),
    ],
    ids=lambda entry: entry[0],
)
def test_a_climbing_path_is_refused(root: Path, outside: Path, tmp_path: Path, entry: Entry) -> None:
    with pytest.raises(ImageError, match="climbs out") as caught:
        unpacked(root, layer(tmp_path / "layer", entry))
    assert not caught.value.transient
    assert [file.name for file in outside.iterdir()] == ["precious"]


@pytest.mark.parametrize("relative", [False, True])
def test_a_link_leads_nowhere_but_into_the_image(
    root: Path, outside: Path, tmp_path: Path, relative: bool
) -> None:
    target = "../" * 30 + str(outside)[1:] if relative else str(outside)
    below = layer(tmp_path / "below", ("way", LINK, target))
    above = layer(
        tmp_path / "above",
        ("way/planted", FILE, "x"),
        ("way/.wh.precious", FILE, ""),
        ("way/.wh..wh..opq", FILE, ""),
    )
    unpacked(root, below, above)
    assert [file.name for file in outside.iterdir()] == ["precious"]
    assert (outside / "precious").read_text() == "precious"


def test_a_hard_link_through_a_link_finds_nothing_outside(root: Path, outside: Path, tmp_path: Path) -> None:
    entries = (("way", LINK, str(outside)), ("stolen", HARD, "way/precious"))
    with pytest.raises(ImageError):
        unpacked(root, layer(tmp_path / "layer", *entries))
    assert (outside / "precious").stat().st_nlink == 1


def test_no_device_no_set_id_bit_and_no_owner_of_the_host(root: Path, tmp_path: Path) -> None:
    made = layer(
        tmp_path / "layer",
        ("disk", tarfile.BLKTYPE, ""),
        ("memory", tarfile.CHRTYPE, ""),
        ("tool", FILE, "x"),
        mode=0o6755,
    )
    unpacked(root, made)
    assert [file.name for file in root.iterdir()] == ["tool"]
    status = (root / "tool").lstat()
    assert stat.S_IMODE(status.st_mode) == 0o755
    assert (status.st_uid, status.st_gid) == (FIRST_HOST_ID, FIRST_HOST_ID)


def test_a_small_layer_with_a_large_file_is_refused_at_its_header(root: Path, tmp_path: Path) -> None:
    head = tarfile.TarInfo("large")
    head.size = 1 << 40
    bomb = tmp_path / "layer"
    bomb.write_bytes(gzip.compress(head.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 20)))
    with pytest.raises(ImageError, match="takes more than 64 MiB"):
        unpacked(root, bomb)
    assert not list(root.iterdir())


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[2Jb", "a\udcffb", "\u202ecod.exe", ".wh", "..."])
def test_odd_names_are_only_names(root: Path, tmp_path: Path, name: str) -> None:
    unpacked(root, layer(tmp_path / "layer", (name, FILE, "x")))
    assert [file.name for file in root.iterdir()] == [name]


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, b"L", b"K"], ids=["x", "g", "L", "K"])
def test_a_header_is_not_read_into_all_of_the_memory(root: Path, tmp_path: Path, kind: bytes) -> None:
    """A few MiB of layer that unfold to 3 GiB of one header."""
    head = tarfile.TarInfo("long")
    head.type, head.size = kind, 3 << 30
    zeros = gzip.compress(bytes(64 << 20), compresslevel=1)
    bomb = tmp_path / "layer"
    bomb.write_bytes(gzip.compress(head.tobuf(tarfile.GNU_FORMAT)) + zeros * 48)
    with pytest.raises(ImageError) as caught:
        unpacked(root, bomb)
    assert not caught.value.transient


def test_a_path_of_very_many_parts_is_the_images_fault(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ImageError) as caught:
        unpacked(root, layer(tmp_path / "layer", ("d/" * 1500, FOLDER, "")))
    assert not caught.value.transient


def test_a_tree_deeper_than_any_path_can_be_removed(root: Path, tmp_path: Path) -> None:
    deep, at, entries = "d/" * 89 + "d", "a", [("a", FOLDER, "")]
    for number in range(14):
        entries += [(f"{at}/{deep}", FOLDER, ""), (f"l{number}", LINK, f"{at}/{deep}")]
        at = f"l{number}"
    unpacked(root, layer(tmp_path / "layer", *entries))
    remove_tree(root)
    assert not root.exists()
