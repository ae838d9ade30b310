"""Images made from files: complete, and the same bytes each time."""

import json
import subprocess
import tarfile
from pathlib import Path

import pytest
from images import busybox
from images.cache import key_of

from openhtc.client.images.layer import Layer
from openhtc.client.images.layout import (
    ImageConfig,
    blob_path,
    layer_files,
    read_layout,
    unpack,
    write_layout,
)


def names_of(layout: Path, tag: str) -> list[str]:
    (layer,) = layer_files(read_layout(layout, tag))
    with tarfile.open(layer) as archive:
        return archive.getnames()


def test_busybox_image_runs(tmp_path: Path) -> None:
    image = busybox.build(tmp_path / "layout")
    root = tmp_path / "root"
    root.mkdir()
    unpack(image, root)
    program = ["bwrap", "--bind", str(root), "/", "/bin/sh", "-c", "id -un 2>&1; ls / | wc -l"]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    assert int(done.stdout.split()[-1]) >= 8
    config = json.loads(
        blob_path(
            image.layout, json.loads(blob_path(image.layout, image.digest).read_bytes())["config"]["digest"]
        ).read_bytes()
    )
    assert config["config"]["Cmd"][0] == "sh"
    assert image.compressed_bytes < 3_000_000


def test_the_same_content_is_the_same_image(tmp_path: Path) -> None:
    first, second = (busybox.build(tmp_path / name) for name in ("a", "b"))
    assert first.digest == second.digest
    other = busybox.build(tmp_path / "c", config=ImageConfig(user="1000:1000"))
    assert other.digest != first.digest


def test_skopeo_reads_the_layout(tmp_path: Path) -> None:
    image = busybox.build(tmp_path / "layout", "v1")
    done = subprocess.run(
        ["skopeo", "inspect", f"oci:{image.layout}:v1"], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["Digest"] == image.digest


def test_a_layout_is_replaced_as_a_whole(tmp_path: Path) -> None:
    for content in (b"old", b"new"):
        layer = Layer()
        layer.add_file("file", content)
        image = write_layout(tmp_path / "layout", "1", layer.pack(), ImageConfig())
    assert read_layout(tmp_path / "layout", "1") == image
    assert names_of(tmp_path / "layout", "1") == ["file"]
    assert [path.name for path in tmp_path.iterdir()] == ["layout"]
    with pytest.raises(LookupError):
        read_layout(tmp_path / "layout", "2")


def package(folder: Path) -> Path:
    """A small Debian package with files in /bin and /lib, documentation, and both kinds of links."""
    tree = folder / "tree"
    for name in ("DEBIAN", "bin", "lib/x", "usr/share/doc/p"):
        (tree / name).mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(
        "Package: p\nVersion: 1\nArchitecture: all\nMaintainer: m <m@example.org>\nDescription: d\n"
    )
    (tree / "bin/program").write_text("#!/bin/sh\n")
    (tree / "bin/program").chmod(0o755)
    (tree / "bin/same").hardlink_to(tree / "bin/program")
    (tree / "lib/x/link").symlink_to("/lib/x/other")
    (tree / "usr/share/doc/p/text").write_text("text")
    deb = folder / "p.deb"
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "--build", str(tree), str(deb)], check=True, capture_output=True
    )
    return deb


def test_packages_are_merged_into_usr_without_what_is_skipped(tmp_path: Path) -> None:
    layer = Layer()
    layer.add_package(package(tmp_path), skip=("usr/share/doc/",))
    layer.add_link("bin", "usr/bin")
    write_layout(tmp_path / "layout", "1", layer.pack(), ImageConfig())
    (packed,) = layer_files(read_layout(tmp_path / "layout", "1"))
    with tarfile.open(packed) as archive:
        found = {entry.name: entry for entry in archive}
    assert {"bin", "usr/bin/program", "usr/bin/same", "usr/lib/x/link"} <= set(found)
    assert not any(name.startswith(("bin/", "lib/", "usr/share/doc/p")) for name in found)
    linked = [entry for entry in found.values() if entry.islnk()]
    assert [entry.linkname.startswith("usr/bin/") for entry in linked] == [True]
    assert {entry.uid for entry in found.values()} == {0}
    assert found["usr/bin/program"].mode & 0o777 == 0o755


def test_keys_tell_parts_apart() -> None:
    assert key_of(["ab", "c"]) != key_of(["a", "bc"])
    assert key_of(["a", b"b"]) == key_of(["a", "b"])
