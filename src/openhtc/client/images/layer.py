"""A file system tree as one layer of an image: the same content always gives the same bytes."""

import gzip
import io
import subprocess
import tarfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
"""Top-level folders that are links into /usr."""
_TIME = 1_767_225_600
"""Modification time, in seconds, of what does not come from a package."""


@dataclass(frozen=True)
class Packed:
    """A layer: compressed, and the digest's subject, uncompressed."""

    compressed: bytes
    plain: bytes


class Layer:
    """Entries by path, without a leading slash; a later one replaces an earlier one."""

    def __init__(self) -> None:
        self._entries: dict[str, tuple[tarfile.TarInfo, bytes]] = {}

    def __contains__(self, path: str) -> bool:
        return path in self._entries

    def add_folder(self, path: str, mode: int = 0o755, owner: int = 0) -> None:
        self._add(path, tarfile.DIRTYPE, mode, owner=owner)

    def add_file(self, path: str, content: bytes, mode: int = 0o644) -> None:
        self._add(path, tarfile.REGTYPE, mode, content=content)

    def add_link(self, path: str, target: str) -> None:
        self._add(path, tarfile.SYMTYPE, 0o777, target=target)

    def add_tree(self, source: Path, path: str) -> None:
        """The files of a folder, with the executable ones still executable."""
        self.add_folder(path)
        for each in sorted(source.rglob("*")):
            inside = f"{path}/{each.relative_to(source)}"
            if each.is_dir():
                self.add_folder(inside)
            else:
                self.add_file(inside, each.read_bytes(), 0o755 if each.stat().st_mode & 0o100 else 0o644)

    def add_package(self, deb: Path, skip: Collection[str] = ()) -> None:
        """A Debian package's files, except those whose path begins with an element of ``skip``."""
        unpacked = subprocess.run(["dpkg-deb", "--fsys-tarfile", str(deb)], capture_output=True, check=True)
        with tarfile.open(fileobj=io.BytesIO(unpacked.stdout)) as archive:
            for entry in archive:
                path = _merged(entry.name)
                if not path or any(f"{path}/".startswith(each) for each in skip):
                    continue
                content = archive.extractfile(entry) if entry.isreg() else None
                entry.name = path
                if entry.islnk():
                    entry.linkname = _merged(entry.linkname)
                self._entries[path] = (entry, content.read() if content else b"")

    def pack(self) -> Packed:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
            # A hard link follows the file it names.
            for entry, content in sorted(
                self._entries.values(), key=lambda each: (each[0].islnk(), each[0].name)
            ):
                archive.addfile(entry, io.BytesIO(content))
        plain = buffer.getvalue()
        return Packed(gzip.compress(plain, compresslevel=6, mtime=0), plain)

    def _add(
        self, path: str, kind: bytes, mode: int, *, content: bytes = b"", target: str = "", owner: int = 0
    ) -> None:
        entry = tarfile.TarInfo(path)
        entry.type, entry.mode, entry.mtime, entry.linkname = kind, mode, _TIME, target
        entry.uid = entry.gid = owner
        entry.size = len(content)
        self._entries[path] = (entry, content)


def _merged(name: str) -> str:
    """The path on a system where /bin and its like are links into /usr; empty for what those links replace."""
    path = name.removeprefix("./").strip("/")
    first, slash, _ = path.partition("/")
    if path in ("", ".") or (first in MERGED and not slash):
        return ""
    return f"usr/{path}" if first in MERGED else path
