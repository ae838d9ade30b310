"""`openhtc status`: every part, really asked."""

import asyncio
from typing import TYPE_CHECKING

import typer
from rich.markup import escape
from rich.table import Table

from openhtc.cli.data_option import DataOption, data_directory
from openhtc.cli.output import Format, OutputOption, console, print_json

if TYPE_CHECKING:
    from openhtc.embedded.report import Report


def status(data: DataOption = None, output: OutputOption = Format.table) -> None:
    """Show every part with its pid, health and address; exit code 1 unless all are healthy."""
    from openhtc.embedded.layout import DataLayout
    from openhtc.embedded.report import inspect

    report = asyncio.run(inspect(DataLayout(data_directory(data))))
    if output is Format.json:
        print_json(report)
    else:
        _print_table(report)
    raise typer.Exit(0 if report.healthy else 1)


def _print_table(report: "Report") -> None:
    table = Table("part", "pid", "health", box=None, header_style="bold")
    table.add_column("address", overflow="fold")
    for part in report.parts:
        health = "[green]healthy[/green]" if part.healthy else f"[red]{escape(part.problem)}[/red]"
        table.add_row(part.name, str(part.pid or "-"), health, escape(part.address))
    console.print(table)
    for limit in report.limits_missing:
        console.print(f"[yellow]not enforced here:[/yellow] {escape(limit)}")
