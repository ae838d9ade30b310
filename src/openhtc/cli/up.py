"""`openhtc up`: the whole service on this machine."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from openhtc.cli.data_option import DataOption, data_argument, data_directory
from openhtc.cli.output import console, print_error
from openhtc.cli.up_events import UpPrinter
from openhtc.embedded.options import NetworkName, RuntimeName, UpOptions


def up(
    data: DataOption = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=1, max=65535, help="Port of the API; 8080 at first, then the one it had.", show_default=False
        ),
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return when everything is healthy.")
    ] = False,
    vcpus: Annotated[int | None, typer.Option(min=1, help="vCPUs for jobs; default: all.")] = None,
    memory_mib: Annotated[
        int | None, typer.Option(min=1, help="Memory for jobs in MiB; default: 80 %.")
    ] = None,
    runtime: Annotated[RuntimeName, typer.Option(help="What starts containers.")] = "native",
    network: Annotated[
        NetworkName, typer.Option(help="What jobs reach: the outside too, or only the service.")
    ] = "outside",
    events_to: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Start PostgreSQL, S3, the registry, the server and an agent, and keep them running."""
    options = UpOptions(data_directory(data), port, vcpus, memory_mib, runtime, network)
    if events_to is not None:
        _serve_for_other(options, events_to)
    elif detach:
        _detach(options, data)
    else:
        _serve(options, data)


def _serve(options: UpOptions, data: Path | None) -> None:
    from openhtc.embedded.service import serve
    from openhtc.embedded.supervised import PartFailedError

    with UpPrinter(console, options.data, data_argument(data), stays=True) as printer:
        try:
            asyncio.run(serve(options, printer))
        except PartFailedError as error:
            printer.pause()
            print_error(error)
            raise typer.Exit(1) from error
    console.print("[bold]stopped[/bold]")


def _serve_for_other(options: UpOptions, descriptor: int) -> None:
    """What a detached service runs: another process prints."""
    from openhtc.embedded.detached import PipeListener
    from openhtc.embedded.service import serve

    asyncio.run(serve(options, PipeListener(descriptor)))


def _detach(options: UpOptions, data: Path | None) -> None:
    from openhtc.embedded.detached import DetachedFailedError, start_detached

    with UpPrinter(console, options.data, data_argument(data), stays=False) as printer:
        try:
            pid = start_detached(options, printer)
        except DetachedFailedError as error:
            printer.pause()
            print_error(error)
            raise typer.Exit(1 if error.part else 2) from error
    stop = escape(f"openhtc down{data_argument(data)}")
    console.print(f"running in the background as process {pid}; stop it with [bold]{stop}[/bold]")
