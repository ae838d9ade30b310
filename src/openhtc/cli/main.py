"""`openhtc`: all verbs. What a person can put right is one line on standard error and exit code 2."""

import functools
import importlib
import sys

import typer

from openhtc import __version__
from openhtc.cli import agent
from openhtc.cli.bench import bench
from openhtc.cli.down import down
from openhtc.cli.output import print_error
from openhtc.cli.server import server
from openhtc.cli.status import status
from openhtc.cli.up import up
from openhtc.domain.errors import OpenhtcError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="A self-hosted High Throughput Computing service.",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"openhtc {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Verbs of the service on one machine, and its programs for many."""


for verb in (up, down, status, server, bench):
    app.command()(verb)
app.add_typer(agent.app, name="agent")


@functools.cache
def _mount_server_commands() -> None:
    """Add, once, what needs the server's packages; an agent's node is installed without them."""
    for name in ("admin", "openapi", "verify", "chaos", "backup", "restore"):
        try:
            module = importlib.import_module(f"openhtc.cli.{name}")
        except ModuleNotFoundError as error:
            missing = error.name or ""
            if missing.startswith("openhtc.") and missing != f"openhtc.cli.{name}":
                raise
            continue
        if name == "admin":
            app.add_typer(module.app, name=name)
        else:
            app.command(name)(module.command)


def main() -> None:
    """Entry point of the program."""
    _mount_server_commands()
    try:
        app()
    except OpenhtcError as error:
        print_error(error)
        sys.exit(2)


if __name__ == "__main__":
    main()
