"""The ports of an installation: free when they are chosen, the same ever after."""

import errno
import secrets
import socket

from openhtc.domain.errors import SettingsError

LOOPBACK = "127.0.0.1"
GRPC_OFFSET = 10_000
"""SeaweedFS listens for each of its services on a second port this far above the first."""

LOWEST, HIGHEST = 12_000, 22_000
"""Below the range Linux takes for outgoing connections (32768 and up), with the second ports too."""


def is_free(port: int) -> bool:
    """True when a listener could start on this loopback port now."""
    return _obstacle(port) is None


def _obstacle(port: int) -> str | None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return "another program listens on it"
            if error.errno == errno.EACCES:
                return "this user may not listen on it"
            raise
    return None


def choose(taken: set[int], *, with_grpc: bool = False) -> int:
    """A free port that is not in ``taken``, which it joins; with its second port when asked."""
    for _ in range(500):
        port = LOWEST + secrets.randbelow(HIGHEST - LOWEST)
        wanted = {port, port + GRPC_OFFSET} if with_grpc else {port}
        if not wanted & taken and all(is_free(each) for each in wanted):
            taken |= wanted
            return port
    raise SettingsError(f"found no free port between {LOWEST} and {HIGHEST}")


def require_free(part: str, ports: tuple[int, ...]) -> None:
    """Raises SettingsError naming the part and the port when one of them cannot be had."""
    for port in ports:
        obstacle = _obstacle(port)
        if obstacle is not None:
            raise SettingsError(f"{part} needs port {port} on {LOOPBACK}, and {obstacle}")
