"""The runtimes by the names that settings use."""

from pathlib import Path

from openhtc.agent.runtimes.base import Runtime
from openhtc.agent.runtimes.bubblewrap import Bubblewrap
from openhtc.agent.runtimes.oci import Oci
from openhtc.agent.sandbox.mode import Mode
from openhtc.domain.errors import SettingsError

NAMES = ("bubblewrap", "runc", "crun")


def choose(name: str, mode: Mode, data_dir: Path) -> Runtime:
    """The runtime of this name. Raises SettingsError when there is none or when it cannot work here."""
    if name == "bubblewrap":
        return Bubblewrap(mode)
    if name in NAMES:
        return Oci(mode, data_dir / name, name)
    raise SettingsError(f"runtime: {name!r} is none of {', '.join(NAMES)}")
