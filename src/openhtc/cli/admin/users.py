"""`openhtc admin users`."""

from typing import Annotated

import typer

from openhtc.cli.admin.connection import SettingsOption, administer
from openhtc.cli.data_option import DataOption
from openhtc.cli.output import Format, OutputOption, print_json, print_rows
from openhtc.domain.identity import Role

app = typer.Typer(no_args_is_help=True, help="Users and their roles.")

RolesArgument = Annotated[list[Role], typer.Argument(help="One role or more.")]


@app.command("create")
def create(
    workspace: Annotated[str, typer.Option(help="Id of the workspace.")],
    email: str,
    full_name: str,
    workspace_admin: bool = False,
    organization_admin: bool = False,
    operator: bool = False,
    settings: SettingsOption = None,
    data: DataOption = None,
) -> None:
    """Make a user; `keys create` gives them an API key."""
    chosen = {
        Role.WORKSPACE_ADMIN: workspace_admin,
        Role.ORGANIZATION_ADMIN: organization_admin,
        Role.OPERATOR: operator,
    }
    roles = [role for role, wanted in chosen.items() if wanted]
    made = administer(settings, data, lambda service: service.create_user(workspace, email, full_name, roles))
    print_json({"user_id": made})


@app.command("list")
def list_all(
    workspace: Annotated[str | None, typer.Option(help="Only this workspace.")] = None,
    settings: SettingsOption = None,
    data: DataOption = None,
    output: OutputOption = Format.table,
) -> None:
    """All users, or one workspace's."""
    print_rows(administer(settings, data, lambda service: service.list_users(workspace)), output)


@app.command("grant")
def grant(user: str, roles: RolesArgument, settings: SettingsOption = None, data: DataOption = None) -> None:
    """Give a user roles. They hold from the next request on."""
    administer(settings, data, lambda service: service.set_roles(user, roles, held=True))
    print_json({"user_id": user, "granted": [role.value for role in roles]})


@app.command("revoke")
def revoke(user: str, roles: RolesArgument, settings: SettingsOption = None, data: DataOption = None) -> None:
    """Take roles from a user, from the next request on."""
    administer(settings, data, lambda service: service.set_roles(user, roles, held=False))
    print_json({"user_id": user, "revoked": [role.value for role in roles]})


@app.command("disable")
def disable(user: str, settings: SettingsOption = None, data: DataOption = None) -> None:
    """Lock a user out at once, keys and tokens included. Their jobs go on."""
    administer(settings, data, lambda service: service.set_disabled(user, True))
    print_json({"user_id": user, "disabled": True})


@app.command("enable")
def enable(user: str, settings: SettingsOption = None, data: DataOption = None) -> None:
    """Let a disabled user in again, with the keys they had."""
    administer(settings, data, lambda service: service.set_disabled(user, False))
    print_json({"user_id": user, "disabled": False})
