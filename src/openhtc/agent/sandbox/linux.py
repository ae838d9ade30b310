"""The Linux calls that Python does not offer, each as one typed function that raises OSError."""

import ctypes
import errno
import os
import platform
from pathlib import Path

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 4096, 16384, 1 << 18
MNT_DETACH, UMOUNT_NOFOLLOW = 2, 8
CLONE_NEWNS, CLONE_NEWNET, CLONE_NEWUSER = 0x00020000, 0x40000000, 0x10000000
RESOLVE_NO_MAGICLINKS, RESOLVE_IN_ROOT = 0x02, 0x10
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_OPENAT2 = 437

_libc = ctypes.CDLL(None, use_errno=True)
_IDS = {
    "x86_64": {"setresuid": 117, "setresgid": 119, "setgroups": 116},
    "aarch64": {"setresuid": 147, "setresgid": 149, "setgroups": 159},
}[platform.machine()]


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
    return result


def _path(text: str) -> bytes:
    """For C, which would take a text with a zero byte for a shorter one."""
    if "\0" in text:
        raise OSError(errno.EINVAL, "zero byte in a path", text)
    return os.fsencode(text)


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    # Paths travel as file-system bytes: a tab or a byte that is not UTF-8 must arrive as it is.
    arguments = (_path(source), _path(target), kind.encode())
    _check(_libc.mount(*arguments, ctypes.c_ulong(flags), _path(options)), target)


def umount(target: str, flags: int = UMOUNT_NOFOLLOW) -> None:
    _check(_libc.umount2(_path(target), flags), target)


def setns(fd: int, kind: int) -> None:
    """Move the calling thread (not the process) into a namespace."""
    _check(_libc.setns(fd, kind), "setns")


def unshare(flags: int) -> None:
    """For the calling thread only."""
    _check(_libc.unshare(flags), "unshare")


def die_with_parent(signal_number: int) -> None:
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0), "prctl")


def become_subreaper(wanted: bool = True) -> None:
    """Orphans among our descendants become our children, to be reaped by their pidfd."""
    _check(_libc.prctl(_PR_SET_CHILD_SUBREAPER, int(wanted), 0, 0, 0), "prctl")


def thread_ids(uid: int, gid: int, groups: tuple[int, ...]) -> None:
    """Set real and effective ids of the calling thread alone; the saved ids stay root.

    The C library's own functions would change every thread of the process. The saved root id is what
    lets the thread change back; a program that it executes meanwhile does not get it.
    """
    array = (ctypes.c_uint32 * max(1, len(groups)))(*groups)
    call = _libc.syscall
    if uid == 0:
        _check(call(_IDS["setresuid"], 0, 0, 0), "setresuid")
    _check(call(_IDS["setgroups"], len(groups), array), "setgroups")
    _check(call(_IDS["setresgid"], gid, gid, 0), "setresgid")
    if uid != 0:
        _check(call(_IDS["setresuid"], uid, uid, 0), "setresuid")


class _OpenHow(ctypes.Structure):
    _fields_ = [("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64)]


def open_in_root(root: int, path: str, flags: int) -> int:
    """Open ``path`` with the directory ``root`` (a descriptor) as its "/": no link leads out of it."""
    how = _OpenHow(flags | os.O_CLOEXEC, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
    encoded = _path(path)
    return _check(_libc.syscall(_OPENAT2, root, encoded, ctypes.byref(how), ctypes.sizeof(how)), path)


def sync_filesystem(path: Path) -> None:
    """Write everything of the file system that holds ``path`` to its disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        _check(_libc.syncfs(fd), str(path))
    finally:
        os.close(fd)
