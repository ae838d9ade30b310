"""`openhtc restore`: a new installation of a backup, as of its last or an earlier moment."""

import asyncio
import signal
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from openhtc.cli.data_option import DataOption, data_argument, data_directory
from openhtc.cli.output import errors
from openhtc.domain.errors import InvalidRequest


def command(
    directory: Annotated[Path, typer.Argument(help="The directory of `openhtc backup`.")],
    at: Annotated[
        str | None,
        typer.Option(
            help="A moment with its time zone, as in 2030-01-31T12:00:00Z.", show_default="the last one"
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Port of the API.", show_default="the one it had"),
    ] = None,
    data: DataOption = None,
) -> None:
    """Make an installation as it was at a moment, in a data directory that is missing or empty, and leave it stopped.

    What was accepted after that moment is not there. Jobs that ran at it start again.
    """
    from openhtc.backup.layout import BackupLayout
    from openhtc.backup.restore import restore

    root = data_directory(data).absolute()
    moment = _moment(at)

    async def work() -> None:
        task = asyncio.current_task()
        assert task is not None
        for number in (signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        backup = BackupLayout(directory.absolute())
        await restore(
            backup, root, moment, port, lambda line: errors.print(line, markup=False, highlight=False)
        )

    try:
        asyncio.run(work())
    except asyncio.CancelledError as error:
        typer.echo("openhtc: stopped; nothing was restored", err=True)
        raise typer.Exit(1) from error
    typer.echo(f"restored; start it with openhtc up{data_argument(data)}")


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidRequest(f"at: {text!r} is no moment as in 2030-01-31T12:00:00Z") from error
    if found.tzinfo is None:
        raise InvalidRequest(f"at: {text!r} has no time zone: write 2030-01-31T12:00:00Z or …+01:00")
    return found
