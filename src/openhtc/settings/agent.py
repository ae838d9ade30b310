"""The settings of an agent. Sizes that are left out are taken from the machine."""

import socket
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec

from openhtc.domain.dimensions import MAX_MACHINE_TYPE
from openhtc.domain.enums import Architecture
from openhtc.domain.errors import SettingsError
from openhtc.domain.regions import SupportedRegion

LOCK_NAME = "agent.lock"
Positive = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(ge=0)]


class AgentSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One agent on one node. Read with ``openhtc.settings.source.load``."""

    server_url: str
    """Origin of the server, e.g. ``http://127.0.0.1:8080``."""
    key: str | None = None
    """The agent key; or name a file that holds it. Exactly one of the two."""
    key_file: Path | None = None
    name: str = ""
    """How the operator sees this agent; empty: the host's name."""
    regions: Annotated[list[SupportedRegion], msgspec.Meta(min_length=1)] = msgspec.field(
        default_factory=lambda: [SupportedRegion.AWS_US_WEST_2]
    )
    """The regions whose jobs this node may run."""
    provider: Annotated[str, msgspec.Meta(pattern="^[a-z]+$")] = "local"
    machine_type: Annotated[str, msgspec.Meta(max_length=MAX_MACHINE_TYPE)] = ""
    """What kind of node this is, as dimensions name it; empty: provider, architecture and vCPUs, like local-x86-8."""
    architecture: Architecture | None = None
    """Whose jobs the node takes first; None: the processor's. A100 is for nodes that have such accelerators."""
    data_dir: Path = Path("/var/lib/openhtc/agent")
    """Images, scratch space and journal. Belongs to one agent at a time."""
    vcpus: Positive | None = None
    """vCPUs to offer; None: those of the machine. May be more than there are."""
    memory_mib: Positive | None = None
    """Memory to offer, in MiB; None: 80 % of the machine's."""
    disk_gib: Positive | None = None
    """Scratch disk to offer, in GiB; None: what is free under data_dir beside the images, at least 10 for each vCPU."""
    image_cache_gib: Positive = 20
    """Disk for unpacked images, in GiB; no image may be larger than this."""
    max_log_gib: Positive = 16
    """What is kept of the output of one attempt, in GiB; its last line says what was dropped beyond."""
    runtime: Literal["native", "bubblewrap", "runc", "crun"] = "native"
    """What starts containers: native is our own and the fastest, the others are for comparison and special nodes."""
    network: Literal["outside", "services"] = "outside"
    """What jobs may reach: the forwarded services and everything outside this host, or only the services."""
    forward: list[str] | None = None
    """Loopback endpoints ``host:port`` that jobs may reach; None: the server's and the object store's."""
    lifetime_seconds: Seconds | None = None
    """How long the node lives; the agent has left by then."""
    spot_notice: Literal["aws", "gcp", "azure"] | None = None
    """Whose metadata service to ask whether the node is about to be taken away; None: nobody's."""
    metadata_url: str = "http://169.254.169.254"
    """Where that service is."""
    stop_grace_seconds: Seconds = 10.0
    """How long running jobs may go on after a request to stop; 0: they are stopped at once."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_json: bool = False
    status_file: Path | None = None
    """Where to write what the agent is doing, as JSON, once a second."""

    def __post_init__(self) -> None:
        _check_origin("server_url", self.server_url)
        _check_origin("metadata_url", self.metadata_url)
        if (self.key is None) == (self.key_file is None):
            raise ValueError("exactly one of key and key_file is expected")
        for endpoint in self.forward or ():
            _check_endpoint(endpoint)

    @property
    def node_name(self) -> str:
        return self.name or socket.gethostname()

    @property
    def lock_file(self) -> Path:
        """Held by the agent that uses data_dir; it says which process that is."""
        return self.data_dir / LOCK_NAME

    def agent_key(self) -> str:
        """The key itself. Raises SettingsError when its file cannot be read or is empty."""
        if self.key_file is None:
            return self.key or ""
        try:
            key = self.key_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"key_file {self.key_file} cannot be read: {error}") from error
        if not key:
            raise SettingsError(f"key_file {self.key_file} is empty: expected an agent key")
        return key


def _check_origin(name: str, url: str) -> None:
    parts = urlsplit(url)
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or parts.path not in ("", "/")
        or parts.query
    ):
        raise ValueError(f"{name} is {url!r}: expected an origin such as http://127.0.0.1:8080")


def _check_endpoint(endpoint: str) -> None:
    host, _, port = endpoint.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"forward has {endpoint!r}: expected host:port, e.g. 127.0.0.1:8080")
