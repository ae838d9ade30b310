"""The disk space of one job at a time: everything its container writes, its /tmp too, with a limit.

Privileged: a sparse file with an ext4 file system of exactly the job's size, made once for each slot and
size, so that the kernel says "no space left" to the job that filled it and to nobody else. Otherwise a
plain directory that the agent measures while the job runs.
"""

import contextlib
import fcntl
import os
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Protocol

import structlog

from openhtc.agent.sandbox import linux
from openhtc.agent.sandbox.files import discard_tree, remove_tree, used_bytes

log = structlog.get_logger(__name__)

_FULL_BYTES = 4 << 20
"""Less than this left counts as full: ext4 refuses the last blocks to writers before it says zero."""
_TRIM_BYTES = 64 << 20
_REFORMAT_FILES = 5000
_FITRIM = 0xC0185879
_OWN_SPACE = 24 << 20
"""What ext4 keeps for itself besides its inode tables, and what counts as full already."""


class Scratch(Protocol):
    def prepare(self, gib: int) -> Path:
        """An empty directory with room for so much. Raises OSError."""

    def used_bytes(self) -> int: ...

    def is_full(self) -> bool:
        """True when the job has no room left."""

    def empty(self) -> None:
        """Take back everything. Nothing may be mounted from it any more. Raises OSError."""

    def close(self) -> None: ...


class LoopScratch:
    """An ext4 file system in a sparse file; used from one thread at a time."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._mounted = directory / "disk"
        self._gib = 0
        directory.mkdir(parents=True, exist_ok=True)
        self._mounted.mkdir(exist_ok=True)

    def prepare(self, gib: int) -> Path:
        if gib != self._gib:
            self._unmount()
            self._make(gib)
        space = self._mounted / "job"
        space.mkdir(exist_ok=True)
        return space

    def used_bytes(self) -> int:
        status = os.statvfs(self._mounted)
        return (status.f_blocks - status.f_bfree) * status.f_frsize

    def is_full(self) -> bool:
        if not self._gib:
            return False
        status = os.statvfs(self._mounted)
        return status.f_bavail * status.f_frsize < _FULL_BYTES or status.f_favail == 0

    def empty(self) -> None:
        if not self._gib:
            return
        status = os.statvfs(self._mounted)
        used = (status.f_blocks - status.f_bfree) * status.f_frsize
        if status.f_files - status.f_ffree > _REFORMAT_FILES:
            gib = self._gib
            self._unmount()
            self._make(gib)  # quicker than removing so many files
            return
        remove_tree(self._mounted / "job")
        if used > _TRIM_BYTES:
            self._trim()

    def close(self) -> None:
        self._unmount()
        discard_tree(self._directory)

    def _make(self, gib: int) -> None:
        image = self._directory / "disk.img"
        image.unlink(missing_ok=True)
        size = (gib << 30) * 102 // 100 + _OWN_SPACE
        with image.open("wb") as file:
            file.truncate(size)
        features = "^has_journal,^resize_inode,sparse_super2"
        extended = "lazy_itable_init=1,nodiscard,root_owner=0:0"
        make = ["mkfs.ext4", "-q", "-F", "-m", "0", "-O", features, "-E", extended]
        _run([*make, str(image)])
        _run(["mount", "-o", "loop,nosuid,nodev,noatime,noinit_itable", str(image), str(self._mounted)])
        # The loop device keeps the file; without a name it goes away with the mount, however we die.
        image.unlink()
        self._mounted.chmod(0o755)
        self._gib = gib

    def _unmount(self) -> None:
        if self._gib:
            self._gib = 0
            linux.umount(str(self._mounted), linux.MNT_DETACH)

    def _trim(self) -> None:
        fd = os.open(self._mounted, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, _FITRIM, struct.pack("=QQQ", 0, (1 << 64) - 1, 0))
        except OSError as error:
            log.warning("scratch_not_trimmed", path=str(self._mounted), error=str(error))
        finally:
            os.close(fd)


class PlainScratch:
    """A directory whose size is counted when asked; used from one thread at a time."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._limit = 0
        directory.mkdir(parents=True, exist_ok=True)

    def prepare(self, gib: int) -> Path:
        self._limit = gib << 30
        space = self._directory / "job"
        space.mkdir(exist_ok=True)
        return space

    def used_bytes(self) -> int:
        return used_bytes(self._directory / "job")

    def is_full(self) -> bool:
        if not self._limit:
            return False
        status = os.statvfs(self._directory)
        return status.f_bavail * status.f_frsize < _FULL_BYTES or self.used_bytes() > self._limit

    def empty(self) -> None:
        self._limit = 0
        if (self._directory / "job").exists():
            remove_tree(self._directory / "job")

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.empty()
        discard_tree(self._directory)


def loop_works(directory: Path) -> bool:
    """True when this machine can mount a file as a disk; tries it."""
    if shutil.which("mkfs.ext4") is None:
        return False
    trial = LoopScratch(directory)
    try:
        trial.prepare(1)
    except OSError as error:
        log.warning("no_loop_devices", error=str(error))
        return False
    finally:
        trial.close()
    return True


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        raise OSError(f"{command[0]}: {done.stderr.strip()[:300]}")
