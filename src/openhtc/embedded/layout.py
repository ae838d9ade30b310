"""Where everything of one installation lives below its data directory."""

import os
from dataclasses import dataclass
from pathlib import Path

from openhtc.domain.errors import SettingsError
from openhtc.embedded.private_files import private_directory, write_private

DATA_FORMAT = "5"
"""What DATA/VERSION says; it changes when an older program could not use the directory any more."""
UPGRADED = frozenset({"4"})
"""Formats that this program can use; a start makes it the newest."""


SHARED_WAY = 0o711
"""Mode of a directory of root's that other users pass through and cannot list; every secret below is 0600."""


def default_data_directory() -> Path:
    """/var/lib/openhtc for root, else the user's data home."""
    if os.geteuid() == 0:
        return Path("/var/lib/openhtc")
    home = os.environ.get("XDG_DATA_HOME")
    return (Path(home) if home else Path.home() / ".local" / "share") / "openhtc"


@dataclass(frozen=True, slots=True)
class DataLayout:
    """Names of the files and directories of one installation."""

    root: Path

    @property
    def version(self) -> Path:
        return self.root / "VERSION"

    @property
    def installation(self) -> Path:
        return self.root / "installation.json"

    @property
    def credentials(self) -> Path:
        return self.root / "credentials.json"

    @property
    def server_settings(self) -> Path:
        return self.root / "server.toml"

    @property
    def agent_server_settings(self) -> Path:
        return self.root / "agent-server.toml"

    @property
    def agent_settings(self) -> Path:
        return self.root / "agent.toml"

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def agent_key(self) -> Path:
        return self.part("agent") / "key"

    @property
    def agent_data(self) -> Path:
        return self.part("agent") / "data"

    @property
    def agent_status(self) -> Path:
        return self.part("agent") / "status.json"

    def part(self, name: str) -> Path:
        """The directory that belongs to one part."""
        return self.root / name

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"


def open_layout(root: Path) -> DataLayout:
    """The layout of ``root``, created when the directory is missing or empty.

    Raises SettingsError when the directory is something else or of another data format.
    """
    layout = DataLayout(root.absolute())
    try:
        if not layout.version.exists():
            _create(layout)
        check_version(layout)
        for directory in (layout.logs, layout.run):
            private_directory(directory)
    except OSError as error:
        raise SettingsError(f"cannot use the data directory {root}: {error.strerror}") from error
    return layout


def check_version(layout: DataLayout) -> str:
    """The directory's format. Raises SettingsError unless this program can use it."""
    try:
        found = layout.version.read_text().strip()
    except FileNotFoundError as error:
        raise SettingsError(f"{layout.root} holds no installation of openhtc") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot read {layout.version}: {error}") from error
    if found != DATA_FORMAT and found not in UPGRADED:
        raise SettingsError(
            f"the data directory {layout.root} has format {found[:20]!r}, this openhtc needs {DATA_FORMAT!r}:"
            " use the openhtc that made it, or another --data directory"
        )
    return found


def _create(layout: DataLayout) -> None:
    layout.root.mkdir(parents=True, exist_ok=True)
    strangers = sorted(entry.name for entry in layout.root.iterdir() if not entry.name.startswith("."))
    if strangers:
        raise SettingsError(
            f"the data directory {layout.root} holds {strangers[0]} and no VERSION file:"
            " name an empty or a new directory with --data"
        )
    # PostgreSQL runs as its own user below root's directory.
    layout.root.chmod(SHARED_WAY if os.geteuid() == 0 else 0o700)
    write_version(layout)


def write_version(layout: DataLayout) -> None:
    """Make the directory one of this program's, whatever it was; its lock must be held."""
    write_private(layout.version, f"{DATA_FORMAT}\n".encode(), mode=0o644)
