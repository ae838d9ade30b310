"""The smallest useful image: Debian's static busybox and a user. Built in about a second.

    python3 examples/images/busybox.py LAYOUT [TAG]

writes the OCI layout LAYOUT with the image TAG (default ``1``).
"""

import subprocess
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from openhtc.client.images.layer import Layer
from openhtc.client.images.layout import Image, ImageConfig, write_layout

BUSYBOX = Path("/usr/bin/busybox")
PASSWD = "root:x:0:0:root:/root:/bin/sh\nsim:x:1000:1000:sim:/home/sim:/bin/sh\n"
GROUP = "root:x:0:\nsim:x:1000:\n"


def build(layout: Path, tag: str = "1", config: ImageConfig | None = None) -> Image:
    """Write the image; needs the package busybox-static. Its default command says hello."""
    found = next((path for path in (BUSYBOX, Path("/bin/busybox")) if path.exists()), None)
    if found is None:
        raise FileNotFoundError("There is no busybox: apt-get install busybox-static")
    layer = Layer()
    add_skeleton(layer)
    layer.add_folder("bin")
    layer.add_file("bin/busybox", found.read_bytes(), 0o755)
    for applet in _applets(found):
        if f"bin/{applet}" not in layer:
            layer.add_link(f"bin/{applet}", "busybox")
    default = ImageConfig(command=("sh", "-c", "echo hello from job $AWS_BATCH_JOB_ARRAY_INDEX"))
    return write_layout(layout, tag, layer.pack(), config or default)


def add_skeleton(layer: Layer) -> None:
    """What every root file system has: mount points, a place to write, root and the user sim (1000)."""
    for folder in ("dev", "etc", "proc", "root", "run", "sys", "usr", "var", "home"):
        layer.add_folder(folder, 0o700 if folder == "root" else 0o755)
    layer.add_folder("tmp", 0o1777)
    layer.add_folder("var/tmp", 0o1777)
    layer.add_folder("home/sim", 0o755, owner=1000)
    layer.add_file("etc/passwd", PASSWD.encode())
    layer.add_file("etc/group", GROUP.encode())


def _applets(busybox: Path) -> list[str]:
    return subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()


def main() -> None:
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    image = build(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) == 3 else "1")
    print(f"{image.layout}:{image.tag} {image.digest} {image.compressed_bytes / 1e6:.1f} MB compressed")


if __name__ == "__main__":
    main()
