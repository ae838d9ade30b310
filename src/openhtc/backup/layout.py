"""Where everything of one backup lies below its directory."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from openhtc.domain.errors import InvalidRequest, SettingsError
from openhtc.embedded.layout import DataLayout
from openhtc.embedded.private_files import private_directory, write_private

_NAME = "%Y%m%dT%H%M%SZ"


class Base(msgspec.Struct, frozen=True):
    """A copy of the database's files, from which every later moment can be reached."""

    name: str
    began_at: datetime
    usable_from: datetime
    """No earlier moment can be restored from it."""


class Reach(msgspec.Struct, frozen=True):
    """Until when the backup is complete: the database's log, and every object and image that it speaks of."""

    until: datetime


@dataclass(frozen=True, slots=True)
class BackupLayout:
    root: Path

    @property
    def bases(self) -> Path:
        return self.root / "bases"

    @property
    def wal(self) -> Path:
        """The database's log, as it is written."""
        return self.root / "wal"

    @property
    def objects(self) -> Path:
        return self.root / "objects"

    @property
    def images(self) -> Path:
        return self.root / "images"

    @property
    def installation(self) -> Path:
        """What an installation decided once: its secrets, keys and credentials."""
        return self.root / "installation"

    @property
    def reach_file(self) -> Path:
        return self.root / "reach.json"

    def create(self) -> None:
        """Raises SettingsError when the directory holds something else."""
        try:
            private_directory(self.root)
            strangers = {entry.name for entry in self.root.iterdir()} - _KNOWN
            if strangers:
                raise SettingsError(f"{self.root} holds {min(strangers)}: name an empty or a new directory")
            for folder in (self.bases, self.wal, self.objects, self.images, self.installation):
                private_directory(folder)
        except OSError as error:
            raise SettingsError(f"cannot use {self.root} for a backup: {error.strerror}") from error

    def list_bases(self) -> list[Base]:
        """Complete ones, the oldest first."""
        found = [msgspec.json.decode(file.read_bytes(), type=Base) for file in self.bases.glob("*/base.json")]
        return sorted(found, key=lambda base: base.usable_from)

    def base_for(self, at: datetime | None) -> Base:
        """The newest from which the moment can be reached. Raises InvalidRequest when there is none."""
        bases = self.list_bases()
        if not bases:
            raise InvalidRequest(f"{self.root} holds no complete backup")
        usable = [base for base in bases if at is None or base.usable_from <= at]
        if not usable:
            first = bases[0].usable_from
            raise InvalidRequest(f"at: {_text(at)} is before the first moment of the backup, {_text(first)}")
        if at is not None and at > (until := self.reach().until):
            raise InvalidRequest(f"at: {_text(at)} is after the last moment of the backup, {_text(until)}")
        return usable[-1]

    def reach(self) -> Reach:
        return msgspec.json.decode(self.reach_file.read_bytes(), type=Reach)

    def note_reach(self, until: datetime) -> None:
        write_private(self.reach_file, msgspec.json.encode(Reach(until)))


_KNOWN = {"bases", "wal", "objects", "images", "installation", "reach.json", "lost+found"}


def base_name(moment: datetime) -> str:
    return moment.strftime(_NAME)


def _text(moment: datetime | None) -> str:
    return "" if moment is None else moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


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
