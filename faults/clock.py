"""Clocks that go wrong: one for each program that is given one, by a library that Debian has.

Only the time of day is moved. The clock that counts on is not, as on a machine whose time is corrected. The library
makes a sleep fail now and then (EINVAL), which no real clock does: agents that have it report faults of their node.
"""

import ctypes
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from openhtc.storage.clock import LOOK_SECONDS

LIBRARIES = tuple(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
_SHARED = Path("/dev/shm")  # noqa: S108  # where the library leaves something of each process that was killed
_READ_SECONDS = 1.0
_KNOWN_SECONDS = _READ_SECONDS + LOOK_SECONDS + 6.0
"""After it is right again every server knows it, also one that was cut off from the database meanwhile."""
_NEW_MOUNTS = 0x00020000
"""CLONE_NEWNS."""


class Clock:
    """The programs with its environment read ``file`` about once a second."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._moves: list[tuple[float, float, float]] = []
        """From when to when, since the epoch, and by how much."""
        self._write(0)

    @contextmanager
    def moved(self, seconds: float) -> Iterator[None]:
        """Too late by so much there; negative: too early."""
        began = time.time()
        try:
            self._write(seconds)
            yield
        finally:
            self._write(0)
            self._moves.append((began, time.time(), seconds))

    def earliest(self, told: float) -> float:
        """When it was at the earliest, since the epoch, when somebody who goes by this clock told ``told``."""
        meant = [
            told - seconds
            for began, ended, seconds in self._moves
            if began <= told - seconds <= ended + _KNOWN_SECONDS
        ]
        return min([told, *meant])

    def _write(self, seconds: float) -> None:
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+.1f}s\n")
        new.replace(self._file)

    @property
    def env(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(LIBRARIES[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": f"{_READ_SECONDS:.0f}",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }


def own_mounts() -> None:
    """What this process mounts from now on is seen by it and those it starts only, and goes with them. Needs root."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_NEW_MOUNTS) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)


def give(program: Path, clock: Clock, folder: Path) -> None:
    """``program`` goes by ``clock`` for us, however it is started: another one, made in ``folder``, lies over it."""
    folder.mkdir()
    real = folder / f"{program.name}.real"
    shutil.copy2(program, real)
    words = "".join(f"export {name}='{value}'\n" for name, value in clock.env.items())
    cover = folder / program.name
    cover.write_text(f'#!/bin/sh\n{words}exec {program.parent / real.name} "$@"\n')
    cover.chmod(0o755)
    layers = f"lowerdir={folder}:{program.parent}"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", layers, str(program.parent)], check=True)


def clean() -> None:
    """Remove what programs that were killed have left of the library's."""
    for file in (*_SHARED.glob("faketime_shm_*"), *_SHARED.glob("sem.faketime_sem_*")):
        if not Path("/proc", file.name.rpartition("_")[2]).exists():
            file.unlink(missing_ok=True)
