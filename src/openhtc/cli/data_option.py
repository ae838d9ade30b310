"""The --data option, the same for every command about an installation on this machine."""

from pathlib import Path
from typing import Annotated

import typer

DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data",
        help="Data directory; /var/lib/openhtc for root, else ~/.local/share/openhtc.",
        show_default=False,
    ),
]


def data_directory(given: Path | None) -> Path:
    """The directory that was named, or the default of this user."""
    from openhtc.embedded.layout import default_data_directory

    return given.absolute() if given is not None else default_data_directory()


def data_argument(given: Path | None) -> str:
    """What to add to a command so that it means the same directory."""
    return f" --data {given}" if given is not None else ""
