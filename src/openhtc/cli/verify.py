"""`openhtc verify`: whether a live store keeps its promises."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from openhtc.cli.admin.connection import SettingsOption, run
from openhtc.cli.data_option import DataOption
from openhtc.cli.output import Format, OutputOption, console, errors, print_json
from openhtc.domain.errors import InvalidRequest
from openhtc.domain.ids import parse_uuid

if TYPE_CHECKING:
    from openhtc.services.verification import Finding
    from openhtc.settings.server import ServerSettings
    from openhtc.storage.database import Database


def command(
    task: Annotated[str | None, typer.Argument(help="The id of a task; only what belongs to it.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All tasks of all workspaces.")] = False,
    rows: Annotated[int, typer.Option(min=1, max=100_000, help="Rows of each finding to name at most.")] = 20,
    settings: SettingsOption = None,
    data: DataOption = None,
    output: OutputOption = Format.table,
) -> None:
    """Check what must be true of the database, and name the rows that break it; exit code 1 when there are any.

    It reads one moment of the database while the service goes on, and changes nothing. A million jobs take
    some ten seconds.
    """
    if (task is None) is not everything:
        raise InvalidRequest("expected the id of a task, or --all for all of them, and not both")
    task_id = None if task is None else parse_uuid("task", task)

    async def work(database: "Database", loaded: "ServerSettings") -> "list[Finding]":
        from openhtc.services.verification import Verification

        with errors.status("reading") as status:
            return await Verification(database, database.now, loaded.lease_seconds).run(
                task_id, rows, lambda check: status.update(check.promise)
            )

    findings = run(settings, data, work)
    if output is Format.json:
        print_json(findings)
    else:
        print_findings(findings)
    raise typer.Exit(1 if any(finding.broken for finding in findings) else 0)


def print_findings(findings: "list[Finding]") -> None:
    """A table of what was checked, then the rows that break something."""
    table = Table("promise", "broken by", box=None, header_style="bold")
    for finding in findings:
        table.add_row(
            finding.promise, f"[red]{finding.broken}[/red]" if finding.broken else "[green]nothing[/green]"
        )
    console.print(table)
    for finding in findings:
        for broken in finding.rows:
            console.print(f"[red]{finding.check}[/red]: {escape(broken.place)}: {escape(broken.problem)}")
        if finding.broken > len(finding.rows):
            console.print(f"[red]{finding.check}[/red]: {finding.broken - len(finding.rows)} more")
