"""A short table of figures for people."""

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from openhtc.bench.figures import Figures


def print_figures(what: str, figures: Figures) -> None:
    table = Table(title=what, show_header=False)
    for name, value in _rows("", figures):
        table.add_row(name, value)
    Console().print(table)


def _rows(prefix: str, figures: Figures) -> Iterator[tuple[str, str]]:
    """One row for each figure; lists of single figures are for the file only."""
    for name, value in figures.items():
        if isinstance(value, dict):
            yield from _rows(f"{prefix}{name} ", value)
        elif not isinstance(value, list):
            yield f"{prefix}{name}", f"{value:g}" if isinstance(value, float) else str(value)
