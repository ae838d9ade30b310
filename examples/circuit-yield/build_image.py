"""Build the demo's image: ngspice, a shell and curl from Debian packages, and the circuit.

    python3 examples/circuit-yield/build_image.py

prints where the OCI layout is. Nothing is done when the same packages and the same circuit were built
before. No root, no Docker, no debootstrap: the packages are unpacked straight into the image's layer.
"""

import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from images.busybox import add_skeleton
from images.cache import cache_folder, key_of
from images.debian import PackagesError, fetch, resolve

from openhtc.client.images.layer import MERGED, Layer
from openhtc.client.images.layout import Image, ImageConfig, read_layout, write_layout

CIRCUIT = Path(__file__).resolve().parent / "job"
TAG = "1"
RECIPE = "1"
"""Change it when this file builds something else from the same inputs."""

PACKAGES = ("ngspice", "dash", "coreutils", "curl", "mawk", "sed", "grep", "hostname")
ONLY_FOR_INSTALLING = frozenset(
    {
        "dpkg",
        "tar",
        "debconf",
        "debianutils",
        "perl-base",
        "x11-common",
        "fontconfig-config",
        "fonts-dejavu-core",
    }
)
NOT_NEEDED = (
    "usr/share/doc/", "usr/share/man/", "usr/share/locale/", "usr/share/info/", "usr/share/lintian/",
    "usr/share/bug/", "usr/share/zsh/", "usr/share/bash-completion/", "usr/share/X11/locale/",
    "usr/share/libc-bin/", "usr/lib/x86_64-linux-gnu/gconv/", "usr/lib/aarch64-linux-gnu/gconv/",
)  # fmt: skip


def build(say: Callable[[str], None] = print) -> Image:
    """The image, built or found. Raises PackagesError."""
    packages = resolve(PACKAGES, without=ONLY_FOR_INSTALLING)
    cache = cache_folder()
    layout = cache / "images" / f"circuit-yield-{_key([each.file_name for each in packages])}"
    try:
        return read_layout(layout, TAG)
    except (OSError, LookupError):
        say(f"building the image from {len(packages)} Debian packages")
    layer = Layer()
    for deb in fetch(packages, cache / "packages"):
        layer.add_package(deb, NOT_NEEDED)
    _complete(layer)
    config = ImageConfig(entrypoint=("/circuit/job.sh",), user="1000:1000", working_dir="/tmp")
    return write_layout(layout, TAG, layer.pack(), config)


def _complete(layer: Layer) -> None:
    """What installation scripts would have made, and the circuit."""
    add_skeleton(layer)
    for name in MERGED:
        layer.add_folder(f"usr/{name}")
        layer.add_link(name, f"usr/{name}")
    layer.add_link("usr/bin/sh", "dash")
    layer.add_link("usr/bin/awk", "mawk")
    layer.add_tree(CIRCUIT, "circuit")


def _key(package_files: list[str]) -> str:
    files = sorted(path for path in CIRCUIT.rglob("*") if path.is_file())
    contents = [part for path in files for part in (path.name, path.read_bytes())]
    return key_of([RECIPE, *package_files, *contents])


def main() -> None:
    try:
        image = build()
    except PackagesError as error:
        sys.exit(str(error))
    print(f"{image.layout}:{image.tag} {image.digest} {image.compressed_bytes / 1e6:.1f} MB compressed")


if __name__ == "__main__":
    main()
