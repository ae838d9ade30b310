"""`openhtc agent`: the program of a node, and what can be asked of it on that node."""

import os
import time
from pathlib import Path
from typing import Annotated

import typer

from openhtc.cli.data_option import DataOption, data_directory
from openhtc.cli.output import errors
from openhtc.domain.errors import SettingsError

app = typer.Typer(invoke_without_command=True)

SettingsOption = Annotated[
    Path | None, typer.Option(help="Settings file (TOML); OPENHTC_<KEY> in the environment wins.")
]


@app.callback()
def agent(context: typer.Context, settings: SettingsOption = None) -> None:
    """Lease and run jobs on this node until SIGTERM."""
    if context.invoked_subcommand is not None:
        return
    from openhtc.agent.main import run
    from openhtc.settings.agent import AgentSettings
    from openhtc.settings.source import load

    raise typer.Exit(run(load(AgentSettings, settings, os.environ)))


@app.command()
def drain(
    settings: SettingsOption = None,
    data: DataOption = None,
    wait: Annotated[bool, typer.Option(help="Return when the agent has ended.")] = True,
) -> None:
    """Let the agent of this node end: it takes no more jobs, gives back those that wait, and ends after those that run.

    Nothing is lost and no retry is used up. SIGTERM to the agent shortens it: then running jobs have only
    stop_grace_seconds. An agent of `openhtc up` stays down until the next `openhtc up`.
    """
    from openhtc.lifecycle.locks import FileLock
    from openhtc.lifecycle.stopping import DRAIN

    lock = _lock_file(settings, data)
    try:
        holder = FileLock(lock).holder()
    except OSError as error:
        raise SettingsError(f"cannot read {lock}: {error.strerror}") from error
    try:
        asked = holder is not None and holder.signal(DRAIN)
    except PermissionError as error:
        raise SettingsError("the agent belongs to another user: drain it as that user or as root") from error
    if holder is None or not asked:
        raise SettingsError(f"no agent runs with the data directory {lock.parent}")
    errors.print(f"agent, process {holder.pid}, drains")
    began = time.monotonic()
    while wait and not holder.wait_gone(10.0):
        errors.print(f"its jobs still run after {time.monotonic() - began:.0f} s")


def _lock_file(settings: Path | None, data: Path | None) -> Path:
    """Of the agent that the settings describe; without any, of the agent of the installation on this machine."""
    from openhtc.embedded.layout import DataLayout
    from openhtc.settings.agent import LOCK_NAME, AgentSettings
    from openhtc.settings.source import load

    if settings is None:
        return DataLayout(data_directory(data)).agent_data / LOCK_NAME
    return load(AgentSettings, settings, os.environ).lock_file
