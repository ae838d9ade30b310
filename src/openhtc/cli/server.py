"""`openhtc server`: one server, as production starts it and as `openhtc up` does."""

import os
from pathlib import Path
from typing import Annotated

import typer


def server(
    settings: Annotated[
        Path | None, typer.Option(help="Settings file (TOML); OPENHTC_<KEY> in the environment wins.")
    ] = None,
) -> None:
    """Run the server until SIGTERM."""
    from openhtc.server.main import run
    from openhtc.settings.server import ServerSettings
    from openhtc.settings.source import load

    raise typer.Exit(run(load(ServerSettings, settings, os.environ)))
