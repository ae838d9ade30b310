"""`openhtc admin keys`."""

from typing import Annotated
from uuid import UUID

import typer

from openhtc.cli.admin.connection import SettingsOption, administer
from openhtc.cli.data_option import DataOption
from openhtc.cli.output import Format, OutputOption, print_json, print_rows
from openhtc.domain.errors import InvalidRequest

app = typer.Typer(no_args_is_help=True, help="API keys, refresh tokens, agent keys and metrics keys.")

KINDS = {"api": "api_key", "refresh": "refresh_token", "agent": "agent_key", "metrics": "metrics_key"}
_OF_USERS = ("api", "refresh")

ExpiresOption = Annotated[
    int | None, typer.Option("--expires-days", min=1, help="Days for which it is good; for ever without.")
]


@app.command("create")
def create(
    user: Annotated[str | None, typer.Option(help="Id of the user; for api and refresh.")] = None,
    kind: Annotated[str, typer.Option(help="api, refresh, agent or metrics.")] = "api",
    label: Annotated[str, typer.Option(help="What it is for, as `keys list` shows it.")] = "",
    expires_days: ExpiresOption = None,
    settings: SettingsOption = None,
    data: DataOption = None,
) -> None:
    """Make a key and print it: it is stored nowhere and cannot be shown again."""
    if kind not in KINDS:
        raise InvalidRequest(f"--kind: {kind!r} is none of {', '.join(KINDS)}")
    if (user is not None) != (kind in _OF_USERS):
        raise InvalidRequest(f"--user: needed for {' and '.join(_OF_USERS)}, not for the other kinds")
    key_id, secret = administer(
        settings, data, lambda service: service.create_key(KINDS[kind], user, label, days=expires_days)
    )
    print_json({"key_id": str(key_id), "key": secret})


@app.command("list")
def list_all(
    user: Annotated[str | None, typer.Option(help="Only this user's.")] = None,
    settings: SettingsOption = None,
    data: DataOption = None,
    output: OutputOption = Format.table,
) -> None:
    """Every key without its secret."""
    print_rows(administer(settings, data, lambda service: service.list_keys(user)), output)


@app.command("revoke")
def revoke(key_id: UUID, settings: SettingsOption = None, data: DataOption = None) -> None:
    """Make a key useless at once; bearer tokens made with it live on until they expire (6 hours)."""
    administer(settings, data, lambda service: service.revoke_key(key_id))
    print_json({"revoked": str(key_id)})
