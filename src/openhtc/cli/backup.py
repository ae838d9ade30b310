"""`openhtc backup`: everything of an installation of this machine, so that any later moment can be restored."""

import asyncio
import signal
from pathlib import Path
from typing import Annotated

import typer

from openhtc.cli.data_option import DataOption, data_directory
from openhtc.cli.output import errors


def command(
    directory: Annotated[Path, typer.Argument(help="Where the backup is or will be.")],
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on until SIGTERM or Ctrl-C, so that it stays complete.")
    ] = False,
    every: Annotated[
        float,
        typer.Option(min=1, help="With --follow: seconds between two looks for new objects and images."),
    ] = 60.0,
    data: DataOption = None,
) -> None:
    """Copy a running installation: its database, objects, images and keys. The service goes on.

    Every run adds a copy of the database below runs/, which may be removed as a whole; objects and images are copied
    once. The directory holds all secrets of the installation.
    """
    from openhtc.backup.backup import Backup
    from openhtc.backup.layout import BackupLayout
    from openhtc.embedded.layout import DataLayout

    async def work() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        backup = Backup(
            DataLayout(data_directory(data).absolute()),
            BackupLayout(directory.absolute()),
            lambda line: errors.print(line, markup=False, highlight=False),
        )
        typer.echo(f"can be restored: {await backup.run(stop, every if follow else None)}")

    asyncio.run(work())
