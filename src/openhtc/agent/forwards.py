"""Which services on this machine the jobs may reach."""

import ipaddress
import socket
from urllib.parse import urlsplit

from openhtc.agent.sandbox.addresses import own_addresses
from openhtc.agent.sandbox.forwarder import Forward
from openhtc.settings.agent import AgentSettings

_PORTS = {"http": 80, "https": 443}
_LOOPBACK = "127.0.0.1"


def forwards(settings: AgentSettings, *services: str) -> list[Forward]:
    """Those of the settings; by default the services (URLs of the API and the object store) that are on this machine.

    Inside a job they have the address that they have here.
    """
    if settings.forward is not None:
        found = [_split(endpoint) for endpoint in settings.forward]
    else:
        found = [pair for url in services if (pair := local_endpoint(url))]
    return [Forward(host, port, host, port) for host, port in dict.fromkeys(found)]


def local_endpoint(url: str) -> tuple[str, int] | None:
    """Address and port of a URL on this machine; None for any other URL."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if not is_loopback(host):
        own = _resolved(host)
        return None if own not in own_addresses() else (own, parts.port or _PORTS.get(parts.scheme, 80))
    return _address(host), parts.port or _PORTS.get(parts.scheme, 80)


def _resolved(host: str) -> str:
    try:
        return socket.gethostbyname(host)
    except OSError:
        return host


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _split(endpoint: str) -> tuple[str, int]:
    host, _, port = endpoint.rpartition(":")
    return _address(host.strip("[]")), int(port)


def _address(host: str) -> str:
    return _LOOPBACK if host == "localhost" else host
