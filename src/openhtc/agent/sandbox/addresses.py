"""The machine's own addresses, and how a namespace claims them so that they lead nowhere else."""

import fcntl
import socket
import struct
from pathlib import Path

_FIB = Path("/proc/net/fib_trie")
_HOST_MASK = "255.255.255.255"
_METADATA = (("169.254.169.254", "255.255.0.0"), ("100.100.100.200", _HOST_MASK))
"""Where clouds hand a machine its own credentials: the link's own addresses, all of them, and one more."""
_SLIRP = ("10.0.2.2", "10.0.2.3", "10.0.2.100")
_SIOCSIFADDR, _SIOCSIFNETMASK = 0x8916, 0x891C
_MOST = 64


def own_addresses() -> list[str]:
    """IPv4 addresses of this machine, in this network namespace, other than its loopback's."""
    found: list[str] = []
    last = ""
    for line in _FIB.read_text().splitlines():
        words = line.split()
        if words[:1] == ["|--"]:
            last = words[1]
        elif words == ["/32", "host", "LOCAL"] and not last.startswith("127."):
            found.append(last)
    return list(dict.fromkeys(found))


def not_for_jobs() -> list[tuple[str, str]]:
    """Addresses, with their masks, that a job with an outside network would reach through it and must not."""
    addresses = [address for address in own_addresses() if address not in _SLIRP]
    return [*((address, _HOST_MASK) for address in addresses[:_MOST]), *_METADATA]


def claim(addresses: list[tuple[str, str]]) -> None:
    """Give the addresses to this namespace's loopback: only what listens in here answers there."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for n, (address, mask) in enumerate(addresses):
            name = f"lo:{n}".encode()
            for request, value in ((_SIOCSIFADDR, address), (_SIOCSIFNETMASK, mask)):
                where = struct.pack("=H2x4s8x", socket.AF_INET, socket.inet_aton(value))
                fcntl.ioctl(sock, request, struct.pack("16s16s8x", name, where))
