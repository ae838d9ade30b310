"""`openhtc bench`: what an installed service does, in figures."""

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from openhtc.bench.place import opened
from openhtc.bench.suite import MEASUREMENTS, Wishes, measure, rows
from openhtc.cli.data_option import DataOption, data_directory
from openhtc.cli.output import Format, OutputOption, console, errors, print_json
from openhtc.client import HtcClient
from openhtc.domain.errors import SettingsError

CredentialsOption = Annotated[
    Path | None,
    typer.Option(help="Whose jobs they are: a file with base_url and api_key. Default: that of --data."),
]


def bench(
    only: Annotated[
        list[str] | None, typer.Argument(help=f"Which measurements: {', '.join(MEASUREMENTS)}. Default: all.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, max=100_000, help="Jobs of each turn of the rate.")] = 10_000,
    turns: Annotated[int, typer.Option(min=1, max=100, help="Turns of what is repeated as a whole.")] = 3,
    tries: Annotated[
        int, typer.Option(min=1, max=10_000, help="Single jobs, and questions of a kind.")
    ] = 100,
    slots: Annotated[
        int | None,
        typer.Option(min=1, max=100_000, help="Jobs of one vCPU that run at once.", show_default="found out"),
    ] = None,
    region: Annotated[
        list[str] | None, typer.Option(help="Where the jobs run; several are allowed. Default: any region.")
    ] = None,
    credentials: CredentialsOption = None,
    data: DataOption = None,
    output: OutputOption = Format.table,
) -> None:
    """Measure a service through its API: jobs a second, delays, the share of the slots' time, answers.

    It runs real jobs, some ten thousands, in a project "openhtc bench" of the user, and deletes them at the end;
    other users' jobs wait meanwhile as beside any other project's. The image holds this machine's programs true and
    sleep, so nodes have to be of the same architecture.
    """
    unknown = [name for name in only or [] if name not in MEASUREMENTS]
    if unknown:
        raise SettingsError(f"there is no measurement {unknown[0]!r}: one of {', '.join(MEASUREMENTS)}")
    began = time.monotonic()

    def say(line: str) -> None:
        errors.print(f"[{time.monotonic() - began:6.1f} s] {line}", markup=False)

    file = credentials if credentials is not None else data_directory(data) / "credentials.json"
    wishes = Wishes(jobs, turns, tries, slots)
    with HtcClient.from_credentials(file) as client, opened(client, say, region or ()) as place:
        figures = measure(place, wishes, only or [], say)
    if output is Format.json:
        print_json(figures)
        return
    table = Table("what", "median", "spread", box=None, header_style="bold")
    for row in rows(figures):
        table.add_row(*row)
    console.print(table)
