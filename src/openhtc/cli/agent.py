"""`openhtc agent`: the program of a node."""

import os
from pathlib import Path
from typing import Annotated

import typer


def agent(
    settings: Annotated[
        Path | None, typer.Option(help="Settings file (TOML); OPENHTC_<KEY> in the environment wins.")
    ] = None,
) -> None:
    """Lease and run jobs on this node until SIGTERM."""
    from openhtc.agent.main import run
    from openhtc.settings.agent import AgentSettings
    from openhtc.settings.source import load

    raise typer.Exit(run(load(AgentSettings, settings, os.environ)))
