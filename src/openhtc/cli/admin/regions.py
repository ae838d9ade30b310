"""`openhtc admin regions`."""

from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from openhtc.cli.admin.connection import SettingsOption, actor, run
from openhtc.cli.data_option import DataOption
from openhtc.cli.output import Format, OutputOption, print_json, print_rows
from openhtc.domain.enums import Architecture
from openhtc.domain.regions import Region

if TYPE_CHECKING:
    from openhtc.services.regions import Regions
    from openhtc.storage.database import Database

app = typer.Typer(no_args_is_help=True, help="Regions and the providers that they are mapped to.")


def _service(database: "Database") -> "Regions":
    from openhtc.services.regions import Regions

    return Regions(database, database.now)


@app.command("set")
def set_region(
    name: Region,
    provider: Annotated[str | None, typer.Option(help="local, slurm or kubernetes.")] = None,
    enabled: Annotated[bool | None, typer.Option(help="Whether new jobs may go there.")] = None,
    weight: Annotated[
        float | None, typer.Option(help="Share of the jobs that may run in several regions.")
    ] = None,
    architecture: Annotated[
        list[Architecture] | None, typer.Option(help="What its nodes have; repeat for more.")
    ] = None,
    settings: SettingsOption = None,
    data: DataOption = None,
) -> None:
    """Map a region to a provider, or change it; what is not named stays as it is."""
    done = run(
        settings,
        data,
        lambda database, _: _service(database).set(
            actor(),
            name,
            provider=provider,
            enabled=enabled,
            weight=weight,
            architectures=architecture or None,
        ),
    )
    print_json(msgspec.to_builtins(done))


@app.command("list")
def list_all(
    settings: SettingsOption = None, data: DataOption = None, output: OutputOption = Format.table
) -> None:
    """Every mapped region."""
    print_rows(run(settings, data, lambda database, _: _service(database).list()), output)
