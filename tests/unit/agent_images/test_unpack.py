"""Hostile and ordinary layers, through the real child process."""

import gzip
import io
import os
import shutil
import stat
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from openhtc.agent.images.errors import ImageError
from openhtc.agent.images.unpack import unpack
from openhtc.agent.sandbox.ids import IdMap

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

IDS = IdMap.privileged()
Entry = tuple[str, dict[str, object]]


def member(name: str, content: bytes | None = None, **fields: object) -> tuple[tarfile.TarInfo, bytes | None]:
    info = tarfile.TarInfo(name)
    info.mode = 0o644
    for key, value in fields.items():
        setattr(info, key, value)
    if content is not None:
        info.size = len(content)
    return info, content


def directory(name: str, mode: int = 0o755, **fields: object) -> tuple[tarfile.TarInfo, None]:
    info, _ = member(name, type=tarfile.DIRTYPE, mode=mode, **fields)
    return info, None


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tuple[tarfile.TarInfo, None]:
    info, _ = member(name, type=kind, linkname=target)
    return info, None


class Layers:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.root = directory / "root"
        self.root.mkdir()
        self.files: list[Path] = []

    def add(self, *members: tuple[tarfile.TarInfo, bytes | None], packed: bool = True) -> "Layers":
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for info, content in members:
                tar.addfile(info, io.BytesIO(content) if content is not None else None)
        self.files.append(self.directory / f"layer{len(self.files)}")
        data = buffer.getvalue()
        self.files[-1].write_bytes(gzip.compress(data) if packed else data)
        return self

    def unpack(self, limit: int = 1 << 30, ids: IdMap = IDS) -> Path:
        self.size = unpack(self.files, self.root, ids, limit, 0)
        return self.root


@pytest.fixture
def layers(tmp_path: Path) -> Layers:
    return Layers(tmp_path)


def test_an_ordinary_tree(layers):
    root = layers.add(
        directory("etc", mtime=1000),
        member("etc/motd", b"hello", uid=33, gid=44, mode=0o4755, mtime=2000),
        link("etc/alias", "motd"),
        link("etc/same", "etc/motd", tarfile.LNKTYPE),
        member("tmp", None, type=tarfile.DIRTYPE, mode=0o1777),
        member("fifo", None, type=tarfile.FIFOTYPE),
        packed=False,
    ).unpack()
    status = (root / "etc/motd").stat()
    assert (root / "etc/motd").read_bytes() == b"hello"
    assert (status.st_uid, status.st_gid, int(status.st_mtime)) == (1_000_033, 1_000_044, 2000)
    assert stat.S_IMODE(status.st_mode) == 0o755, "no set-user-id bit"
    assert status.st_nlink == 2
    assert (root / "etc/alias").readlink() == Path("motd")
    assert stat.S_IMODE((root / "tmp").stat().st_mode) == 0o1777
    assert int((root / "etc").stat().st_mtime) == 1000
    assert root.stat().st_uid == 1_000_000
    assert layers.size >= 4096


def test_absolute_names_stay_inside(layers):
    root = layers.add(member("/etc/abs", b"1"), member("./rel", b"2")).unpack()
    assert (root / "etc/abs").read_bytes() == b"1"
    assert (root / "rel").read_bytes() == b"2"


@pytest.mark.parametrize("name", ["../out", "a/../../out", "..", "a/.."])
def test_climbing_is_refused(layers, name):
    with pytest.raises(ImageError, match="climbs out"):
        layers.add(member(name, b"x")).unpack()


def test_a_link_to_the_outside_leads_to_the_inside(layers, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    root = layers.add(
        link("way", str(outside)), member("way/file", b"x"), link("up", "../../../.."), member("up/top", b"y")
    ).unpack()
    assert list(outside.iterdir()) == []
    assert (root / "top").read_bytes() == b"y"
    assert not (tmp_path / "top").exists()


def test_a_hard_link_to_the_outside_is_refused(layers, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    with pytest.raises(ImageError):
        layers.add(link("stolen", str(secret), tarfile.LNKTYPE)).unpack()
    assert secret.stat().st_nlink == 1


def test_a_hard_link_through_a_symbolic_one_stays_inside(layers):
    with pytest.raises(ImageError):
        layers.add(link("host", "/etc"), link("stolen", "host/shadow", tarfile.LNKTYPE)).unpack()


def test_a_file_in_place_of_a_link_does_not_write_through_it(layers, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("before")
    root = layers.add(link("target", str(victim)), member("target", b"after")).unpack()
    assert victim.read_text() == "before"
    assert not (root / "target").is_symlink()


def test_device_nodes_are_left_out(layers):
    root = layers.add(
        member("dev/disk", None, type=tarfile.BLKTYPE, devmajor=8, devminor=0),
        member("dev/null", None, type=tarfile.CHRTYPE, devmajor=1, devminor=3),
        member("ok", b""),
    ).unpack()
    assert not (root / "dev").exists() or not list((root / "dev").iterdir())
    assert (root / "ok").exists()


def test_whiteouts(layers):
    layers.add(
        directory("a"),
        member("a/one", b"1"),
        member("a/two", b"2"),
        directory("b"),
        member("b/x", b"x"),
        member("c", b"c"),
    )
    layers.add(
        member("a/.wh.one", b""), member("b/new", b"n"), member("b/.wh..wh..opq", b""), member(".wh.c", b"")
    )
    root = layers.unpack()
    assert sorted(path.name for path in (root / "a").iterdir()) == ["two"]
    assert sorted(path.name for path in (root / "b").iterdir()) == ["new"]
    assert not (root / "c").exists()


def test_a_whiteout_does_not_remove_what_its_own_layer_brings(layers):
    layers.add(member("f", b"old"))
    layers.add(member("f", b"new"), member(".wh.f", b""))
    assert (layers.unpack() / "f").read_bytes() == b"new"


def test_a_whiteout_cannot_name_the_outside(layers, tmp_path):
    (tmp_path / "precious").write_text("x")
    with pytest.raises(ImageError, match="climbs out"):
        layers.add(member(".wh...", b"")).unpack()
    assert (tmp_path / "precious").exists()


def test_kinds_change_from_layer_to_layer(layers):
    layers.add(directory("x"), member("x/in", b"1"), member("y", b"file"))
    layers.add(member("x", b"now a file"), directory("y"), member("y/in", b"2"))
    root = layers.unpack()
    assert (root / "x").read_bytes() == b"now a file"
    assert (root / "y/in").read_bytes() == b"2"


def test_attributes_of_the_overlay_are_not_taken_over(layers):
    headers = {
        "SCHILY.xattr.user.colour": "blue",
        "SCHILY.xattr.user.overlay.redirect": "/etc",
        "SCHILY.xattr.trusted.overlay.opaque": "y",
        "SCHILY.xattr.security.capability": "x",
    }
    root = layers.add(member("f", b"", pax_headers=headers)).unpack()
    assert os.listxattr(root / "f") == ["user.colour"]


def test_too_much_is_refused(layers):
    with pytest.raises(ImageError, match="more than 1 MiB"):
        layers.add(member("big", b"\0" * (2 << 20))).unpack(limit=1 << 20)


def test_what_must_stay_free_of_the_disk_stays_free(layers):
    layers.add(member("f", b"1"))
    with pytest.raises(ImageError, match="too full") as caught:
        unpack(layers.files, layers.root, IDS, 1 << 30, 1 << 60)
    assert caught.value.transient


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-40], lambda data: b"nonsense" * 200, lambda data: data[:30]]
)
def test_damaged_layers(layers, damage: Callable[[bytes], bytes]):
    layers.add(member("f", os.urandom(5000)))
    layers.files[0].write_bytes(damage(layers.files[0].read_bytes()))
    with pytest.raises(ImageError) as caught:
        layers.unpack()
    assert "damaged" in str(caught.value) or "cut short" in str(caught.value)


def test_an_archive_that_ends_right_after_its_last_byte_is_whole(layers):
    layers.add(member("a", b"1" * 600), member("f", b"last"), packed=False)
    whole = layers.files[0].read_bytes()
    layers.files[0].write_bytes(whole[: whole.rindex(b"last") + 4])
    assert (layers.unpack() / "f").read_bytes() == b"last"


def test_an_archive_that_ends_within_a_file_is_damaged(layers):
    layers.add(member("f", b"1" * 600 + b"last"), packed=False)
    whole = layers.files[0].read_bytes()
    layers.files[0].write_bytes(whole[: whole.rindex(b"last") + 2])
    with pytest.raises(ImageError, match="damaged"):
        layers.unpack()


def test_zstd_is_named(layers):
    if shutil.which("zstd") is None:
        pytest.skip("the program zstd is missing")
    layers.add(member("f", b"x"), packed=False)
    packed = subprocess.check_output(["zstd", "-q", "-c", str(layers.files[0])])
    layers.files[0].write_bytes(packed)
    with pytest.raises(ImageError, match="zstd"):
        layers.unpack()


def test_ids_beyond_the_range_belong_to_nobody(layers):
    root = layers.add(member("f", b"", uid=4_000_000, gid=70_000)).unpack()
    assert ((root / "f").stat().st_uid, (root / "f").stat().st_gid) == (1_065_534, 1_065_534)


def test_with_a_single_id_everything_is_ours(layers):
    root = layers.add(member("f", b"", uid=33, gid=44)).unpack(ids=IdMap.rootless())
    assert (root / "f").stat().st_uid == os.geteuid()
