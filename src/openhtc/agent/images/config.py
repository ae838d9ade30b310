"""What an image says about running it, and how a job's own wishes change that."""

import os
from dataclasses import dataclass
from pathlib import Path

import msgspec

from openhtc.agent.images.errors import ImageError
from openhtc.agent.sandbox import linux

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MAX_ACCOUNT_FILE = 1 << 20


class ImageConfig(msgspec.Struct, frozen=True):
    """The part of an image's configuration that matters here, kept in ``image.json``."""

    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    user: str = ""
    workdir: str = ""


@dataclass(frozen=True, slots=True)
class Identity:
    """Numeric ids inside the container. ``home`` is from the image's /etc/passwd, else "/"."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


def command(config: ImageConfig, commands: list[str]) -> tuple[str, ...]:
    """The program to run: the image's entry point, then the job's commands or else the image's.

    Raises ImageError when that is nothing at all.
    """
    words = (*config.entrypoint, *(commands or config.cmd))
    if not words:
        raise ImageError("the image names no program (no ENTRYPOINT, no CMD) and the job gives no commands")
    return words


def environment(
    config: ImageConfig, identity: Identity, *more: list[tuple[str, str]]
) -> tuple[tuple[str, str], ...]:
    """The image's variables under the job's: later ones win, PATH and HOME are always there."""
    merged = {"PATH": DEFAULT_PATH, "HOME": identity.home, **dict(config.env)}
    for variables in more:
        merged.update(variables)
    return tuple(merged.items())


def resolve_user(rootfs: Path, user: str) -> Identity:
    """Turn USER (``name``, ``uid``, ``name:group``, ``uid:gid`` ...; empty is root) into numbers.

    Reads the image's own /etc/passwd and /etc/group, never following a link out of ``rootfs``.
    Raises ImageError when a name is not there.
    """
    name, _, group = user.partition(":")
    passwd = _records(rootfs, "/etc/passwd", 7)
    account = _find(passwd, name or "0")
    uid, gid, home = _account_ids(account, name or "0")
    groups = _records(rootfs, "/etc/group", 4)
    if group:
        return Identity(uid, _group_id(groups, group), (), home)
    members = _memberships(groups, account[0]) if account else ()
    return Identity(uid, gid, tuple(g for g in members if g != gid), home)


def _account_ids(account: list[str] | None, name: str) -> tuple[int, int, str]:
    if account is not None:
        return _number(account[2]), _number(account[3]), account[5] or "/"
    if not _is_number(name):
        raise ImageError(f'the image wants to run as user "{name}", which its /etc/passwd does not have')
    return _number(name), 0, "/"


def _group_id(groups: list[list[str]], group: str) -> int:
    record = _find(groups, group)
    if record is not None:
        return _number(record[2])
    if not _is_number(group):
        raise ImageError(f'the image wants to run with group "{group}", which its /etc/group does not have')
    return _number(group)


def _number(text: str) -> int:
    if not _is_number(text) or int(text) > 65535:
        raise ImageError(f"user and group ids must be numbers from 0 to 65535, not {text!r}")
    return int(text)


def _is_number(text: str) -> bool:
    """Short and in plain digits: int() would take others, or refuse to look at very many."""
    return text.isascii() and text.isdecimal() and len(text) <= 10


def _find(records: list[list[str]], key: str) -> list[str] | None:
    """By name first, then by number, as a login would."""
    by_name = (r for r in records if r[0] == key)
    by_number = (r for r in records if r[2] == key)
    return next(by_name, None) or next(by_number, None)


def _memberships(groups: list[list[str]], name: str) -> tuple[int, ...]:
    found = (r[2] for r in groups if name in r[3].split(",") and _is_number(r[2]))
    return tuple(sorted({int(gid) for gid in found if int(gid) <= 65535}))


def _records(rootfs: Path, path: str, fields: int) -> list[list[str]]:
    root = os.open(rootfs, os.O_PATH | os.O_DIRECTORY)
    try:
        fd = linux.open_in_root(root, path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return []
    finally:
        os.close(root)
    try:
        text = os.read(fd, _MAX_ACCOUNT_FILE).decode("utf-8", "replace")
    except OSError:
        return []
    finally:
        os.close(fd)
    split = (line.split(":") for line in text.splitlines())
    return [record for record in split if len(record) >= fields]
