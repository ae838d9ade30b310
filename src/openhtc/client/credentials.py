"""The file in which an installation leaves its first user's key."""

from pathlib import Path

import msgspec

from openhtc.domain.errors import SettingsError


class Credentials(msgspec.Struct, frozen=True):
    """``credentials.json``: base_url ends in ``/api/v1``; registry is ``host:port`` of the image registry."""

    base_url: str
    api_key: str
    workspace_id: str = ""
    registry: str = ""

    def __repr__(self) -> str:
        return f"Credentials(base_url={self.base_url!r}, workspace_id={self.workspace_id!r})"


def read_credentials(path: Path) -> Credentials:
    """Raises SettingsError when there is no such file or it is no credentials file."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Credentials)
    except OSError as error:
        raise SettingsError(f"The credentials {path} cannot be read: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise SettingsError(f"{path} is no credentials file: {error}") from error
