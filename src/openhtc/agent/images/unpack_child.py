"""Runs as a program of its own: unpacks layers with the destination as its root directory.

Arguments: destination, first host id, number of ids, most bytes, bytes of the disk to leave free, then one open
descriptor for each layer, lowest first. Writes one JSON object: {"bytes": n} or {"error": "...", "transient": bool}.
Standard library only, and nothing is imported once the root has changed.

Left out on purpose: device nodes, set-user-id bits, and all extended attributes but the plain user ones
(those of overlayfs would let an image redirect what is read through the overlay).
"""

# Plain calls on plain strings: pathlib would import more, and do more, after the chroot.
# ruff: noqa: PTH101, PTH102, PTH108, PTH112, PTH114, PTH208, PTH211

import contextlib
import ctypes
import encodings.idna  # noqa: F401 - what follows must find everything loaded
import errno
import gzip
import json
import os
import posixpath
import resource
import shutil
import stat
import sys
import tarfile
import zlib
from typing import IO

_PR_SET_PDEATHSIG, _SIGKILL = 1, 9
_MAX_ENTRIES = 5_000_000
_MAX_DEPTH = 200
_MAX_HEADER = 1 << 20
_MEMORY, _CPU_SECONDS = 1 << 30, 1800
"""What this process may take: it reads what strangers made, outside every job's limits."""
_XATTR = "SCHILY.xattr."
_WHITEOUT, _OPAQUE, _RESERVED = ".wh.", ".wh..wh..opq", ".wh..wh."
_COPY = 1 << 20
_LOOK_BYTES = 64 << 20
"""How much is written before somebody looks again how much of the disk is free."""


class Refused(Exception):
    """The layer is not one that we unpack; the text is for the user."""


class NoRoom(Exception):
    """The disk would be full: not the image's fault."""


class BoundedInfo(tarfile.TarInfo):
    """tarfile reads the headers that carry long names and attributes whole, however long they say they are."""

    def _bounded(self) -> None:
        if self.size > _MAX_HEADER:
            raise Refused(f"a header of {self.size} bytes, at most {_MAX_HEADER} are accepted")

    def _proc_gnulong(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        self._bounded()
        return super()._proc_gnulong(tar)  # type: ignore[misc,no-any-return]

    def _proc_pax(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        self._bounded()
        return super()._proc_pax(tar)  # type: ignore[misc,no-any-return]


class Unpacker:
    """Applies layers to "/"; paths in here are always normal and relative to it."""

    def __init__(self, base: int, count: int, max_bytes: int, spare_bytes: int) -> None:
        self._base, self._count, self._left, self._spare = base, count, max_bytes, spare_bytes
        self.total = 0
        self._unseen = _LOOK_BYTES
        self._entries = 0
        self._ours: set[str] = set()
        self._times: dict[str, float] = {}

    def layer(self, file: IO[bytes]) -> None:
        self._ours = set()
        with tarfile.open(fileobj=file, mode="r|", errorlevel=2, tarinfo=BoundedInfo) as tar:
            while (member := following(tar, file)) is not None:
                self._entries += 1
                if self._entries > _MAX_ENTRIES:
                    raise Refused(f"it has more than {_MAX_ENTRIES} files")
                self._apply(tar, member)
                tar.members.clear()  # type: ignore[attr-defined]  # it would remember millions of them

    def finish(self) -> None:
        for path, when in self._times.items():
            with contextlib.suppress(OSError):
                os.utime(path, (when, when), follow_symlinks=False)

    def _apply(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        path = normal(member.name)
        parent, name = posixpath.split(path)
        if name.startswith(_WHITEOUT):
            self._white_out(parent, name)
            return
        if member.ischr() or member.isblk():
            return
        if not path:
            self._owned(".", member)
            return
        self._make_parents(parent)
        self._make_room(path, keep_directory=member.isdir())
        self._ours.add(path)
        self._create(tar, member, path)
        self._spend(4096)

    def _create(self, tar: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> None:
        if member.islnk():
            os.link(normal(member.linkname), path, follow_symlinks=False)
            return  # its owner and mode are those of the file it names
        if member.issym():
            os.symlink(member.linkname, path)
        elif member.isdir():
            with contextlib.suppress(FileExistsError):
                os.mkdir(path)
        elif member.isfifo():
            os.mkfifo(path)
        elif member.isreg():
            self._write(tar, member, path)
        else:
            raise Refused(f"{member.name!r} is of an unknown kind ({member.type!r})")
        self._owned(path, member)

    def _write(self, tar: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> None:
        source = tar.extractfile(member)
        assert source is not None
        self._spend(member.size)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(fd, "wb") as out:
            shutil.copyfileobj(source, out, _COPY)
            if out.tell() != member.size:
                raise Refused(f"{member.name!r} is cut short")

    def _owned(self, path: str, member: tarfile.TarInfo) -> None:
        if self._count > 1:
            os.chown(path, self._shift(member.uid), self._shift(member.gid), follow_symlinks=False)
        if not member.issym():
            os.chmod(path, member.mode & 0o1777)
            for key, value in member.pax_headers.items():
                self._attribute(path, key, value)
        if member.isdir():
            self._times[path] = float(member.mtime)
        else:
            with contextlib.suppress(OSError, OverflowError):
                os.utime(path, (member.mtime, member.mtime), follow_symlinks=False)

    def _attribute(self, path: str, key: str, value: str) -> None:
        name = key.removeprefix(_XATTR)
        if key.startswith(_XATTR + "user.") and not name.startswith("user.overlay."):
            with contextlib.suppress(OSError):
                os.setxattr(path, name, value.encode("utf-8", "surrogateescape"), follow_symlinks=False)

    def _shift(self, number: int) -> int:
        return self._base + (number if 0 <= number < self._count else 65534)

    def _make_parents(self, parent: str) -> None:
        """Missing parents are made, links followed, as in the image's own root."""
        if not parent or os.path.isdir(parent):
            return
        self._make_parents(posixpath.dirname(parent))
        if os.path.lexists(parent):
            os.unlink(parent)
        os.mkdir(parent, 0o755)
        if self._count > 1:
            os.chown(parent, self._base, self._base)

    def _make_room(self, path: str, *, keep_directory: bool) -> None:
        try:
            mode = os.lstat(path).st_mode
        except FileNotFoundError:
            return
        if not (keep_directory and stat.S_ISDIR(mode)):
            remove(path)

    def _white_out(self, parent: str, name: str) -> None:
        if name == _OPAQUE:
            if os.path.isdir(parent or "."):
                self._clear(parent)
        elif not name.startswith(_RESERVED):
            path = posixpath.join(parent, normal(name.removeprefix(_WHITEOUT)))
            if path != parent and path not in self._ours:
                remove(path)

    def _clear(self, parent: str) -> None:
        """Remove what lower layers put into a directory, and nothing of this one."""
        for entry in os.listdir(parent or "."):
            path = posixpath.join(parent, entry)
            if path not in self._ours:
                remove(path)
            elif os.path.isdir(path) and not os.path.islink(path):
                self._clear(path)

    def _spend(self, size: int) -> None:
        self.total += size
        if self.total > self._left:
            raise Refused(f"it takes more than {self._left >> 20} MiB")
        self._unseen += size
        if self._unseen > _LOOK_BYTES:
            disk, self._unseen = os.statvfs("/"), 0
            if disk.f_bavail * disk.f_frsize - size < self._spare:
                raise NoRoom(f"the node's disk is too full for an image of {self.total >> 20} MiB or more")


def following(tar: tarfile.TarFile, file: IO[bytes]) -> tarfile.TarInfo | None:
    """The next member. Some tools end a layer right after the last file's last byte: that is an end as well."""
    try:
        return tar.next()
    except tarfile.ReadError:
        if tar.offset and not file.read(1):
            return None
        raise


def normal(name: str) -> str:
    """The path relative to the root, "" for the root itself; refuses what climbs."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise Refused(f"the path {name!r} climbs out of its directory")
    if len(parts) > _MAX_DEPTH:
        raise Refused(f"the path {name[:100]!r}... is deeper than {_MAX_DEPTH} directories")
    return "/".join(parts)


def remove(path: str) -> None:
    try:
        mode = os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    if stat.S_ISDIR(mode):
        shutil.rmtree(path)
    else:
        os.unlink(path)


def decompressed(fd: int) -> IO[bytes]:
    """The layer as a plain tar stream, going by its first bytes: media types are often wrong."""
    magic = os.pread(fd, 4, 0)
    raw = os.fdopen(fd, "rb", buffering=_COPY)
    if magic[:2] == b"\x1f\x8b":
        return gzip.GzipFile(fileobj=raw)  # type: ignore[return-value]
    if magic == b"\x28\xb5\x2f\xfd":
        raise Refused("a layer is compressed with zstd, which this node cannot read; push it with gzip")
    return raw


def run(arguments: list[str]) -> int:
    root, (base, count, limit, spare) = arguments[0], (int(word) for word in arguments[1:5])
    os.umask(0)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
    os.chroot(root)
    os.chdir("/")
    sys.path.clear()
    os.chmod("/", 0o755)  # noqa: S103 - as any root directory
    if count > 1:
        os.chown("/", base, base)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))
    unpacker = Unpacker(base, count, limit, spare)
    for word in arguments[5:]:
        with decompressed(int(word)) as file:
            unpacker.layer(file)
    unpacker.finish()
    return unpacker.total


def main() -> None:
    answer: dict[str, object]
    try:
        answer = {"bytes": run(sys.argv[1:])}
    except Refused as error:
        answer = {"error": str(error)}
    except NoRoom as error:
        answer = {"error": str(error), "transient": True}
    except (tarfile.TarError, zlib.error, EOFError, gzip.BadGzipFile, ValueError, RecursionError) as error:
        answer = {"error": f"a layer is damaged: {error}"}
    except MemoryError:
        answer = {"error": f"unpacking takes more than {_MEMORY >> 20} MiB of memory"}
    except OSError as error:
        answer = {"error": str(error), "transient": error.errno in (errno.ENOSPC, errno.EIO, errno.EDQUOT)}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
