"""What the person who types `openhtc up` can choose."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

RuntimeName = Literal["native", "bubblewrap", "runc", "crun"]
NetworkName = Literal["outside", "services"]


@dataclass(frozen=True, slots=True)
class UpOptions:
    """port None keeps the installation's (8080 at first); capacities None are those of the machine."""

    data: Path
    port: int | None = None
    vcpus: int | None = None
    memory_mib: int | None = None
    runtime: RuntimeName = "native"
    network: NetworkName = "outside"
