"""How commands print: text for people on a terminal, one JSON object for programs."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from openhtc.domain.errors import OpenhtcError

console = Console(highlight=False, soft_wrap=True)
wide = Console(highlight=False, soft_wrap=True, width=10_000)
errors = Console(highlight=False, soft_wrap=True, stderr=True)


class Format(StrEnum):
    table = "table"
    json = "json"


OutputOption = Annotated[Format, typer.Option("--output", "-o", help="table for people, json for programs.")]


def print_json(value: object) -> None:
    """One JSON document on standard output."""
    typer.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def print_error(error: OpenhtcError) -> None:
    """One line (or the lines the error has) on standard error, without markup of its own."""
    errors.print(f"openhtc: {error.message}", markup=False)


def print_rows(rows: Sequence[object], output: Format) -> None:
    """A list of values with the same members, as a table or as one JSON array.

    A table is as wide as it has to be: a cut id would be of no use.
    """
    plain = [msgspec.to_builtins(row) for row in rows]
    if output is Format.json:
        print_json(plain)
        return
    table = Table(box=None, header_style="bold")
    for name in plain[0] if plain else ["nothing"]:
        table.add_column(name, no_wrap=True)
    for row in plain:
        table.add_row(*(_cell(value) for value in row.values()))
    wide.print(table)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
