"""An image of a few programs of this machine with the shared libraries that they need, and nothing else."""

import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from openhtc.client.images.layer import Layer
from openhtc.client.images.layout import Image, ImageConfig, write_layout
from openhtc.domain.errors import SettingsError

PROGRAMS = ("true", "sleep")
"""What the jobs of a measurement run: programs that every Linux machine has."""

_LIBRARY = re.compile(r"(?:=> )?(/\S+) \(0x")
"""A line of ldd that says where a library lies."""


def build(layout: Path, programs: Iterable[str] = PROGRAMS) -> Image:
    """Write the OCI layout; the programs lie in /bin. Raises SettingsError when a program is not here."""
    layer = Layer()
    for folder in ("bin", "dev", "etc", "proc", "sys"):
        layer.add_folder(folder)
    layer.add_folder("tmp", 0o1777)
    for name in programs:
        found = shutil.which(name)
        if found is None:
            raise SettingsError(f"the program {name} is not on this machine's PATH")
        _add_file(layer, Path(found), f"bin/{name}")
        for library in _libraries(Path(found)):
            _add_file(layer, library, str(library).strip("/"))
    return write_layout(layout, "1", layer.pack(), ImageConfig(command=("/bin/true",)))


def _add_file(layer: Layer, source: Path, path: str) -> None:
    for folder in reversed(Path(path).parents[:-1]):
        if str(folder) not in layer:
            layer.add_folder(str(folder))
    layer.add_file(path, source.read_bytes(), 0o755)


def _libraries(program: Path) -> Iterator[Path]:
    """With the loader, under the names by which they are looked for; none of a static program."""
    done = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=False)
    for line in done.stdout.splitlines():
        if (found := _LIBRARY.search(line)) is not None:
            yield Path(found.group(1))
