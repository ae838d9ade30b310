"""What machine this is."""

import platform

from openhtc.domain.enums import Architecture
from openhtc.domain.errors import SettingsError

_ARCHITECTURES = {"x86_64": Architecture.X86, "aarch64": Architecture.AARCH64, "arm64": Architecture.AARCH64}


def machine_architecture() -> Architecture:
    """Raises SettingsError for an architecture that the API does not have."""
    machine = platform.machine()
    if machine not in _ARCHITECTURES:
        raise SettingsError(f"this machine is {machine}: expected one of {', '.join(_ARCHITECTURES)}")
    return _ARCHITECTURES[machine]
