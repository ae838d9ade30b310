"""The service on this machine: found running, or started for the demo and stopped after it."""

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from openhtc.client import Credentials, read_credentials
from openhtc.embedded.layout import default_data_directory

OPENHTC = Path(sys.executable).with_name("openhtc")
_PORTS = range(8080, 8280)


class ServiceError(Exception):
    """The service could not be started; the text is what it said."""


@dataclass(frozen=True)
class Service:
    """started: whether it was not running before."""

    data: Path
    credentials: Credentials
    started: bool


@contextmanager
def running_service(
    data: Path | None, port: int | None, *, keep: bool, say: Callable[[str], None]
) -> Iterator[Service]:
    """The service of a data directory. What was started here is stopped at the end, unless ``keep``."""
    folder = (data or default_data_directory()).absolute()
    started = _openhtc("status", folder).returncode != 0
    if started:
        say("starting the service")
        _start(folder, port)
    try:
        yield Service(folder, read_credentials(folder / "credentials.json"), started)
    finally:
        if started and not keep:
            say("stopping the service that this demo started (--keep leaves it running)")
            _openhtc("down", folder)


def _start(folder: Path, port: int | None) -> None:
    first_time = not (folder / "credentials.json").exists()
    chosen = port or (_free_port() if first_time else None)
    done = _openhtc("up", folder, "--detach", *(["--port", str(chosen)] if chosen else []))
    if done.returncode != 0:
        raise ServiceError(f"openhtc up --data {folder} failed:\n{(done.stderr or done.stdout).strip()}")


def _free_port() -> int:
    """The usual port, or the next one that is free: none of those that Linux takes for outgoing connections."""
    for port in _PORTS:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ServiceError(f"none of the ports {_PORTS.start} to {_PORTS.stop - 1} on 127.0.0.1 is free")


def _openhtc(verb: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(OPENHTC), verb, "--data", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)
