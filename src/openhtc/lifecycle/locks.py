"""A lock that ends with the process that holds it."""

import contextlib
import fcntl
import os
from pathlib import Path
from types import TracebackType

import msgspec

from openhtc.lifecycle.identity import ProcessIdentity, process_identity


class FileLock:
    """An exclusive flock on a file; the kernel frees it however the holder ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Take the lock without waiting; False when another process has it."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        with contextlib.suppress(
            OSError
        ):  # on a full disk nobody can look us up, which is no reason not to run
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, msgspec.json.encode(process_identity(os.getpid())), 0)
        return True

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def holder(self) -> ProcessIdentity | None:
        """The process that has it; None when nobody has. Raises OSError when the file cannot be read."""
        try:
            found = msgspec.json.decode(self._path.read_bytes(), type=ProcessIdentity)
        except (FileNotFoundError, msgspec.DecodeError):
            return None
        return found if found.is_alive() else None

    def __enter__(self) -> "FileLock":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
