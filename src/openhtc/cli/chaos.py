"""`openhtc chaos`: faults on purpose, in an installation of one's own."""

import os
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.markup import escape

from openhtc.cli.admin.connection import run
from openhtc.cli.data_option import DataOption, data_directory
from openhtc.cli.output import Format, OutputOption, console, errors, print_json
from openhtc.cli.verify import print_findings
from openhtc.domain.errors import InvalidRequest, SettingsError

if TYPE_CHECKING:
    from openhtc.chaos.run import Outcome
    from openhtc.services.verification import Finding
    from openhtc.settings.server import ServerSettings
    from openhtc.storage.database import Database

WARNING = """This kills and stops the server, the agent, PostgreSQL, S3, the registry and processes of jobs in {data},
at random, while jobs run. Nothing that was accepted is lost, but attempts are run again, and a job whose own process
was killed has used one of its retries. To do it, say --yes."""


def command(
    yes: Annotated[bool, typer.Option("--yes", help="Yes, break things here.")] = False,
    seconds: Annotated[float, typer.Option(min=1, help="How long to go on with it.")] = 60.0,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Repeats the faults of another run.", show_default="random")
    ] = None,
    pause: Annotated[float, typer.Option(min=0, help="Seconds between two faults, about.")] = 3.0,
    only: Annotated[
        list[str] | None, typer.Option(help="Only faults whose name begins so, e.g. 'kill server'.")
    ] = None,
    data: DataOption = None,
    output: OutputOption = Format.table,
) -> None:
    """Break an installation of this machine at random, wait until it is back, and verify it; exit code 1 if it is not.

    Submit jobs before, or run `openhtc bench` beside it: without work there is little to lose.
    """
    from openhtc.chaos.faults import faults_of
    from openhtc.chaos.run import run_chaos
    from openhtc.embedded.layout import DataLayout
    from openhtc.embedded.report import running_supervisor
    from openhtc.settings.server import ServerSettings
    from openhtc.settings.source import load

    directory = data_directory(data)
    if not yes:
        raise InvalidRequest(WARNING.format(data=directory))
    layout = DataLayout(directory)
    if running_supervisor(layout) is None:
        raise SettingsError(f"nothing runs in {directory}: openhtc up starts it")
    lease_seconds = load(ServerSettings, layout.server_settings, os.environ).lease_seconds
    faults = faults_of(layout, lease_seconds)
    chosen = [fault for fault in faults if not only or fault.name.startswith(tuple(only))]
    if not chosen:
        names = ", ".join(fault.name for fault in faults)
        raise InvalidRequest(f"no fault begins with {only}: there are {names}")
    outcome = run_chaos(
        layout,
        chosen,
        seed=secrets.randbits(32) if seed is None else seed,
        seconds=seconds,
        pause_seconds=pause,
        tell=lambda done: errors.print(
            f"[{done.at:7.1f} s] {done.name}: {done.what}", markup=False, highlight=False
        ),
    )
    findings = _verified(data, lease_seconds) if outcome.recovered_seconds is not None else []
    _print(outcome, findings, output)
    failed = outcome.recovered_seconds is None or any(finding.broken for finding in findings)
    raise typer.Exit(1 if failed else 0)


def _verified(data: Path | None, lease_seconds: int) -> "list[Finding]":
    """After the leases of agents that died have run out: one more of its length when the keeper died too."""

    async def work(database: "Database", loaded: "ServerSettings") -> "list[Finding]":
        from openhtc.services.verification import Verification

        return await Verification(database, database.now, loaded.lease_seconds).run(None, 20)

    errors.print("all parts are healthy; waiting until leases have run out, then verifying")
    time.sleep(2 * lease_seconds + 5)
    return run(None, data, work)


def _print(outcome: "Outcome", findings: "list[Finding]", output: Format) -> None:
    if output is Format.json:
        print_json({**msgspec.to_builtins(outcome), "findings": msgspec.to_builtins(findings)})
        return
    console.print(f"seed {outcome.seed}: {len(outcome.faults)} faults")
    for name, count in outcome.by_name.items():
        console.print(f"  {count:4}  {escape(name)}")
    if outcome.recovered_seconds is None:
        console.print("[red]not all parts came back[/red]: openhtc status says which")
        return
    console.print(f"every part was healthy {outcome.recovered_seconds} s after the last fault")
    print_findings(findings)
