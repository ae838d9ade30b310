"""What the jobs themselves say: when an attempt began, when it had done its work. Kept by us, not by the service."""

import socket
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from openhtc.embedded.ports import LOOPBACK

_ACK = b"k"
_BACKLOG = 256


@dataclass
class Told:
    """Of one job: when (since the epoch) each execution of each attempt began, and when it had done its work."""

    begins: dict[int, dict[str, float]] = field(default_factory=lambda: defaultdict(dict))
    ends: dict[int, dict[str, float]] = field(default_factory=lambda: defaultdict(dict))


class Ledger:
    """A line for each connection, acknowledged when it is written down. Listens on loopback."""

    def __init__(self, file: Path) -> None:
        self._listener = socket.create_server((LOOPBACK, 0), backlog=_BACKLOG)
        self.port: int = self._listener.getsockname()[1]
        self._file = file.open("w", encoding="ascii")
        self._lock = threading.Lock()
        self._jobs: dict[str, Told] = defaultdict(Told)
        self._thread = threading.Thread(target=self._serve, name="ledger", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self._file.close()

    def jobs(self) -> dict[str, Told]:
        with self._lock:
            return dict(self._jobs)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(2.0)
                try:
                    self._take(connection)
                except (OSError, ValueError):
                    continue  # a job that was killed in the middle of its line has said nothing

    def _take(self, connection: socket.socket) -> None:
        line = b""
        while not line.endswith(b"\n"):
            piece = connection.recv(256)
            if not piece:
                return
            line += piece
        what, job, attempt, execution = line.decode("ascii").split()
        now = time.time()
        with self._lock:
            told = self._jobs[job]
            (told.begins if what == "B" else told.ends)[int(attempt)].setdefault(execution, now)
            self._file.write(f"{now:.6f} {what} {job} {attempt} {execution}\n")
        connection.sendall(_ACK)
