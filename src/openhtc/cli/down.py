"""`openhtc down`: stop the service on this machine in order."""

from typing import Annotated

import typer

from openhtc.cli.data_option import DataOption, data_directory
from openhtc.cli.output import console


def down(
    data: DataOption = None,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds to wait for its end.")] = 120.0,
) -> None:
    """Stop the service of a data directory and wait until it has stopped."""
    from openhtc.embedded.layout import DataLayout
    from openhtc.embedded.report import stop_installation

    directory = data_directory(data)
    with console.status("stopping"):
        stopped = stop_installation(DataLayout(directory), timeout)
    if stopped is None:
        typer.echo(f"nothing runs for {directory}")
    elif stopped:
        typer.echo(f"stopped the service of {directory}")
    else:
        typer.echo(f"openhtc: the service of {directory} still runs after {timeout:g} s", err=True)
        raise typer.Exit(1)
