"""`openhtc admin`: what operators do on the database and the API has no operation for."""

import typer

from openhtc.cli.admin import (
    audit,
    dimensions,
    installation,
    join_tokens,
    keys,
    organizations,
    regions,
    users,
    workspaces,
)

app = typer.Typer(
    no_args_is_help=True, help="Workspaces, users, keys, limits, regions; the database's schema."
)
for command in (
    installation.migrate,
    installation.bootstrap,
    installation.restored,
    installation.rotate_signing_key,
    audit.audit,
):
    app.command()(command)
for name, group in (
    ("organizations", organizations.app),
    ("workspaces", workspaces.app),
    ("users", users.app),
    ("keys", keys.app),
    ("join-tokens", join_tokens.app),
    ("regions", regions.app),
):
    app.add_typer(group, name=name)
workspaces.app.command("dimensions")(dimensions.workspace_dimensions)
