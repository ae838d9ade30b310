"""Removing trees that a job wrote: any names, any depth, links to anywhere, directories without permissions."""

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)


def remove_tree(path: Path) -> None:
    """Remove a directory and everything in it, without following links. Raises OSError when something stays."""
    with contextlib.suppress(OSError, RecursionError):
        shutil.rmtree(path)
    if not os.path.lexists(path):
        return
    # Deeper than Python recurses, or directories without permission bits (only rootless minds these).
    subprocess.run(["chmod", "-R", "u+rwX", "--", str(path)], stderr=subprocess.DEVNULL, check=False)
    done = subprocess.run(
        ["rm", "-rf", "--one-file-system", "--", str(path)], capture_output=True, text=True, check=False
    )
    if os.path.lexists(path):
        raise OSError(f"cannot remove {path}: {done.stderr.strip()[:200]}")


def discard_tree(path: Path) -> None:
    """The same where the caller can do nothing about what stays; the next start tries again."""
    if os.path.lexists(path):
        try:
            remove_tree(path)
        except OSError as error:
            log.warning("tree_not_removed", path=str(path), error=str(error))


def used_bytes(path: Path) -> int:
    """Disk space taken by a tree, each file once; files that vanish meanwhile do not count."""
    total, seen, waiting = 0, set[int](), [path]
    while waiting:
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    status = entry.stat(follow_symlinks=False)
                    if status.st_ino not in seen:
                        seen.add(status.st_ino)
                        total += status.st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(Path(entry.path))
    return total
