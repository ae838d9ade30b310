"""Laying an image's layers over each other in a directory, by a child process that sees nothing else.

The child (unpack_child.py) makes that directory its root before it reads the first byte of a layer: whatever
names and links are in there, they cannot lead out.
"""

import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import msgspec

from openhtc.agent.images import unpack_child
from openhtc.agent.images.errors import ImageError
from openhtc.agent.sandbox.ids import IdMap

_SCRIPT = str(Path(unpack_child.__file__).resolve())


class _Result(msgspec.Struct, frozen=True):
    bytes: int = 0
    error: str | None = None
    transient: bool = False


def unpack(layers: list[Path], root: Path, ids: IdMap, max_bytes: int, spare_bytes: int) -> int:
    """Unpack the layer files, lowest first, into the empty directory ``root``; the bytes it takes on disk.

    It stops, as a passing failure, before less than ``spare_bytes`` of the disk are free.
    Ownership is shifted into ``ids``; with a single id everything belongs to the caller. Raises ImageError.
    """
    with ExitStack() as stack:
        files = [os.open(layer, os.O_RDONLY) for layer in layers]
        for fd in files:
            stack.callback(os.close, fd)
        command = [sys.executable, "-I", "-S", "-B", _SCRIPT]
        order = [str(root), str(ids.base), str(ids.count), str(max_bytes), str(spare_bytes), *map(str, files)]
        done = subprocess.run(
            [*command, *order],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            pass_fds=files,
            env={},
            check=False,
        )
    return _judge(done)


def _judge(done: "subprocess.CompletedProcess[bytes]") -> int:
    try:
        result = msgspec.json.decode(done.stdout, type=_Result)
    except msgspec.DecodeError:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        reason = said[0] if said else f"status {done.returncode}"
        killed = done.returncode < 0 and done.returncode != -signal.SIGXCPU
        raise ImageError(f"the image could not be unpacked: {reason}", transient=killed) from None
    if result.error is not None:
        raise ImageError(f"the image could not be unpacked: {result.error}", transient=result.transient)
    return result.bytes
