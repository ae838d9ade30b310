"""`openhtc admin organizations`."""

import typer

from openhtc.cli.admin.connection import SettingsOption, administer
from openhtc.cli.data_option import DataOption
from openhtc.cli.output import Format, OutputOption, print_json, print_rows

app = typer.Typer(no_args_is_help=True, help="Organizations: what workspaces belong to.")


@app.command("create")
def create(code: str, name: str, settings: SettingsOption = None, data: DataOption = None) -> None:
    """Make an organization, with a short code that stands in answers and tokens."""
    administer(settings, data, lambda service: service.create_organization(code, name))
    print_json({"organization_code": code})


@app.command("list")
def list_all(
    settings: SettingsOption = None, data: DataOption = None, output: OutputOption = Format.table
) -> None:
    """All organizations."""
    print_rows(administer(settings, data, lambda service: service.list_organizations()), output)
