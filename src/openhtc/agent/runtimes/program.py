"""Can this program be started in this root file system? Asked before a container is made.

A runtime's own messages differ, are meant for its users and not for ours, and come mixed with the job's
output; a look into the file system gives one sentence that names what is wrong. Links are followed
with the container's root as "/".
"""

import os
import platform
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

from openhtc.agent.runtimes.base import ContainerSpec
from openhtc.agent.sandbox import linux
from openhtc.agent.sandbox.ids import IdMap

_MAX_WORD = 128 * 1024 - 1  # the kernel's MAX_ARG_STRLEN, without the final zero byte
_MAX_WORDS = 1_900_000
"""Bytes of all words with a pointer each: the kernel takes a quarter of a stack of 8 MiB."""
_MAX_PARTS = 8_000
"""bwrap takes 9,000 words in all, three of them for each variable."""
_COVERED = ("proc", "sys", "dev")
"""What the image has there is not what the container has."""
_KEPT = ("proc", "sys", "dev", "dev/shm")
_MACHINES = {"x86_64": 62, "aarch64": 183}
_PT_INTERP = 3


def why_not(spec: ContainerSpec, root: int, ids: IdMap) -> str | None:
    """A sentence for the user, or None when nothing speaks against it. ``root``: descriptor of spec.rootfs."""
    return bad_words(spec) or bad_directory(spec, root) or bad_program(spec, root, ids)


def bad_words(spec: ContainerSpec) -> str | None:
    """What the kernel could never take, whatever is in the image."""
    if not spec.args or not spec.args[0]:
        return "cannot start: the command is empty"
    for word in (*spec.args, *(f"{name}={value}" for name, value in spec.env), spec.cwd, spec.name):
        if "\0" in word:
            return "cannot start: the command, the environment or the working directory has a zero byte in it"
        if len(os.fsencode(word)) > _MAX_WORD:
            return f"cannot start: {word[:40]!r}... is longer than {_MAX_WORD} bytes"
    parts = len(spec.args) + 3 * len(spec.env)
    if parts > _MAX_PARTS:
        return f"cannot start: the command and the environment have too many parts ({parts}, of {_MAX_PARTS})"
    size = sum(len(os.fsencode(word)) + 9 for word in spec.args)
    size += sum(len(os.fsencode(name)) + len(os.fsencode(value)) + 10 for name, value in spec.env)
    if size > _MAX_WORDS:
        return f"cannot start: the command and the environment take {size} bytes, at most {_MAX_WORDS} are possible"
    for name, _ in spec.env:
        if not name or "=" in name:
            return f"cannot start: {name!r} cannot be the name of an environment variable"
    return None


def bad_directory(spec: ContainerSpec, root: int) -> str | None:
    """Why the working directory cannot be entered."""
    try:
        fd = linux.open_in_root(root, spec.cwd, os.O_PATH | os.O_DIRECTORY)
    except NotADirectoryError:
        return f'cannot start: the working directory "{spec.cwd}" is not a directory'
    except OSError:
        return None if spec.mounts else f'cannot start: no working directory "{spec.cwd}" in the image'
    try:
        place = os.path.relpath(
            Path(f"/proc/self/fd/{fd}").readlink(), Path(f"/proc/self/fd/{root}").readlink()
        )
    finally:
        os.close(fd)
    if place.split("/")[0] in _COVERED and place not in _KEPT:
        return f'cannot start: the working directory "{spec.cwd}" of the image is hidden in a container'
    return None


def bad_program(spec: ContainerSpec, root: int, ids: IdMap) -> str | None:
    """Why the program cannot be executed."""
    name = spec.args[0]
    found: str | None = None
    for path in _candidates(name, spec):
        problem = _problem_with(path, root, spec, ids)
        if problem is None:
            return _bad_file(name, path, root)
        found = found or (problem if problem != _MISSING else None)
    if spec.mounts:
        return None  # it may be on one of them
    where = "no such file in the image" if "/" in name else "no such program on the PATH of the image"
    return f'cannot start "{name}": {found or where}'


_MISSING = "missing"


def _candidates(name: str, spec: ContainerSpec) -> Iterator[str]:
    if "/" in name:
        yield os.path.join(spec.cwd, name)  # noqa: PTH118 - a path of the container, not of this machine
        return
    path = dict(spec.env).get("PATH", "/bin:/usr/bin")
    for directory in path.split(":"):
        yield os.path.join(spec.cwd, directory, name)  # noqa: PTH118


def _problem_with(path: str, root: int, spec: ContainerSpec, ids: IdMap) -> str | None:
    try:
        fd = linux.open_in_root(root, path, os.O_PATH)
    except OSError:
        return _MISSING
    try:
        status = os.fstat(fd)
    finally:
        os.close(fd)
    if stat.S_ISDIR(status.st_mode):
        return "it is a directory"
    if not stat.S_ISREG(status.st_mode) or not status.st_mode & 0o111:
        return "the file is not executable"
    if not status.st_mode & _bit(status, spec, ids):
        return f"user {spec.uid} may not execute the file"
    return None


def _bit(status: os.stat_result, spec: ContainerSpec, ids: IdMap) -> int:
    """The execute permission that counts for the container's user, who has no capability to get around it."""
    if status.st_uid == ids.host(spec.uid):
        return 0o100
    return 0o010 if status.st_gid in {ids.host(gid) for gid in (spec.gid, *spec.groups)} else 0o001


def _bad_file(name: str, path: str, root: int) -> str | None:
    """Wrong architecture, or an interpreter that is not there: the kernel would say "no such file"."""
    try:
        fd = linux.open_in_root(root, path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        head = os.pread(fd, 4096, 0)
    finally:
        os.close(fd)
    if head.startswith(b"#!"):
        interpreter = head[2:].split(b"\n", 1)[0].split()[:1]
        needed = os.fsdecode(interpreter[0]) if interpreter else ""
    elif head.startswith(b"\x7fELF\x02\x01") and len(head) >= 64:
        if _foreign(head):
            return f'cannot start "{name}": the program is for another processor architecture'
        needed = _elf_interpreter(head)
    else:
        needed = ""
    if not needed.startswith("/") or _exists(root, needed):
        return None
    return f'cannot start "{name}": its interpreter "{needed}" is not in the image'


def _exists(root: int, path: str) -> bool:
    try:
        os.close(linux.open_in_root(root, path, os.O_PATH))
    except OSError:
        return False
    return True


def _foreign(head: bytes) -> bool:
    machine: int = struct.unpack_from("<H", head, 18)[0]
    return machine in _MACHINES.values() and machine != _MACHINES.get(platform.machine())


def _elf_interpreter(head: bytes) -> str:
    (start,) = struct.unpack_from("<Q", head, 32)
    size, count = struct.unpack_from("<HH", head, 54)
    for number in range(count):
        at = start + number * size
        if at + 56 > len(head):
            break
        if struct.unpack_from("<I", head, at)[0] == _PT_INTERP:
            offset, length = (
                struct.unpack_from("<Q", head, at + 8)[0],
                struct.unpack_from("<Q", head, at + 32)[0],
            )
            return os.fsdecode(head[offset : offset + length].rstrip(b"\0"))
    return ""
