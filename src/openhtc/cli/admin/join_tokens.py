"""`openhtc admin join-tokens`: what agents join with."""

from typing import Annotated
from uuid import UUID

import typer

from openhtc.cli.admin.connection import SettingsOption, administer
from openhtc.cli.admin.keys import ExpiresOption
from openhtc.cli.data_option import DataOption
from openhtc.cli.output import Format, OutputOption, print_json, print_rows
from openhtc.domain.regions import Region

app = typer.Typer(no_args_is_help=True, help="Tokens that let agents join, for some regions or for all.")


@app.command("create")
def create(
    region: Annotated[
        list[Region] | None, typer.Option(help="Region that its agents may serve; repeat; all without.")
    ] = None,
    label: Annotated[str, typer.Option(help="What it is for, as `join-tokens list` shows it.")] = "",
    expires_days: ExpiresOption = None,
    settings: SettingsOption = None,
    data: DataOption = None,
) -> None:
    """Make a token and print it once. After its expiry nobody joins with it; agents that have joined stay."""
    key_id, secret = administer(
        settings,
        data,
        lambda service: service.create_key("agent_key", None, label, days=expires_days, regions=region),
    )
    print_json({"key_id": str(key_id), "key": secret})


@app.command("list")
def list_all(
    settings: SettingsOption = None, data: DataOption = None, output: OutputOption = Format.table
) -> None:
    """Every token without its secret."""
    print_rows(administer(settings, data, lambda service: service.list_keys(None, "agent_key")), output)


@app.command("revoke")
def revoke(key_id: UUID, settings: SettingsOption = None, data: DataOption = None) -> None:
    """Let nobody join with it any more, and end the sessions of the agents that have: their jobs start elsewhere."""
    administer(settings, data, lambda service: service.revoke_key(key_id, "agent_key"))
    print_json({"revoked": str(key_id)})
