"""Where everything of one backup lies below its directory."""

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from openhtc.domain.errors import InvalidRequest, SettingsError
from openhtc.embedded.layout import DataLayout
from openhtc.embedded.private_files import private_directory, write_private

_RUN = "run.json"
_BEFORE_CLAIM = {"runs", "objects", "images", "lock", "lost+found"}
"""What a first run that failed early may have left."""


class Stretch(msgspec.Struct, frozen=True):
    """The moments that one run of `openhtc backup` can restore, both ends included."""

    usable_from: datetime
    until: datetime

    def __str__(self) -> str:
        return f"{_text(self.usable_from)} to {_text(self.until)}"


class Source(msgspec.Struct, frozen=True):
    """Which database this is a backup of, by the number that PostgreSQL gave it when it was made."""

    system: str


@dataclass(frozen=True, slots=True)
class RunLayout:
    """One run: a copy of the database's files, and its log from then on."""

    root: Path

    @property
    def database(self) -> Path:
        return self.root / "postgres"

    @property
    def log(self) -> Path:
        return self.root / "wal"

    @property
    def installation(self) -> Path:
        """What an installation decided once: its secrets, keys and credentials."""
        return self.root / "installation"

    def stretch(self) -> Stretch | None:
        """None while it can restore nothing."""
        try:
            return msgspec.json.decode((self.root / _RUN).read_bytes(), type=Stretch)
        except FileNotFoundError:
            return None

    def note(self, stretch: Stretch) -> None:
        write_private(self.root / _RUN, msgspec.json.encode(stretch))


@dataclass(frozen=True, slots=True)
class BackupLayout:
    root: Path

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def objects(self) -> Path:
        return self.root / "objects"

    @property
    def images(self) -> Path:
        return self.root / "images"

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    @property
    def source(self) -> Path:
        return self.root / "source.json"

    def create(self) -> None:
        """Raises SettingsError when the directory holds something else, which is left as it is."""
        try:
            names = {entry.name for entry in self.root.iterdir()} if self.root.exists() else set()
            if self.source.name not in names and names - _BEFORE_CLAIM:
                raise SettingsError(f"{self.root} holds no backup: name an empty or a new directory")
            for folder in (self.root, self.runs, self.objects, self.images):
                private_directory(folder)
        except OSError as error:
            raise SettingsError(f"cannot use {self.root} for a backup: {error.strerror}") from error

    def claim(self, system: str) -> None:
        """From now on for this database. Raises SettingsError when it is for another one."""
        if not self.source.exists():
            write_private(self.source, msgspec.json.encode(Source(system)))
        if msgspec.json.decode(self.source.read_bytes(), type=Source).system != system:
            raise SettingsError(f"{self.root} is the backup of another installation: name another directory")

    def drop_unfinished(self) -> None:
        """Runs that were stopped before they could restore anything. The lock must be held."""
        for run in map(RunLayout, self.runs.iterdir()):
            if run.stretch() is None:
                shutil.rmtree(run.root)

    def new_run(self, name: str) -> RunLayout:
        run = RunLayout(self.runs / name)
        for folder in (run.root, run.log, run.installation):
            private_directory(folder)
        return run

    def run_for(self, at: datetime | None) -> tuple[RunLayout, datetime]:
        """The newest run that can restore the moment, by default the last one of all, and the moment.

        Raises InvalidRequest.
        """
        found = [(run, run.stretch()) for run in map(RunLayout, self.runs.glob("*"))]
        stretches = sorted(
            ((stretch, run) for run, stretch in found if stretch is not None), key=lambda each: each[0].until
        )
        if not stretches:
            raise InvalidRequest(f"{self.root} holds no complete backup")
        wanted = at or stretches[-1][0].until
        for stretch, run in reversed(stretches):
            if stretch.usable_from <= wanted <= stretch.until:
                return run, wanted
        known = ", ".join(str(stretch) for stretch, _ in stretches)
        raise InvalidRequest(f"at: {_text(wanted)} cannot be restored: the backup has {known}")


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def kept_files(layout: DataLayout) -> dict[str, Path]:
    """The small files that an installation cannot be without, by their name in the backup."""
    registry = layout.part("registry")
    return {
        "installation.json": layout.installation,
        "credentials.json": layout.credentials,
        "agent-key": layout.agent_key,
        "token-key.pem": registry / "token-key.pem",
        "token-cert.pem": registry / "token-cert.pem",
    }
