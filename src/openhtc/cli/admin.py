"""`openhtc admin`: what operators do on the database and the API has no operation for."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar
from uuid import UUID

import msgspec
import typer

from openhtc.cli.data_option import DataOption, data_directory
from openhtc.cli.output import Format, OutputOption, print_json, print_rows
from openhtc.domain.errors import InvalidRequest
from openhtc.domain.regions import Region

if TYPE_CHECKING:
    from openhtc.services.administration import Administration
    from openhtc.settings.server import ServerSettings
    from openhtc.storage.database import Database

T = TypeVar("T")

app = typer.Typer(no_args_is_help=True, help="Workspaces, users and keys; the database's schema.")
workspaces = typer.Typer(no_args_is_help=True, help="Workspaces.")
users = typer.Typer(no_args_is_help=True, help="Users.")
keys = typer.Typer(no_args_is_help=True, help="API keys, refresh tokens and agent keys.")
app.add_typer(workspaces, name="workspaces")
app.add_typer(users, name="users")
app.add_typer(keys, name="keys")

SettingsOption = Annotated[
    Path | None, typer.Option(help="The server's settings file; by default that of the data directory.")
]
WorkspaceOption = Annotated[str | None, typer.Option("--workspace", help="Only this workspace.")]


def _run(
    settings: Path | None, data: Path | None, work: "Callable[[Database, ServerSettings], Awaitable[T]]"
) -> T:
    """Run with a connection to the database that the server's settings name."""
    from openhtc.embedded.layout import DataLayout
    from openhtc.settings.server import ServerSettings
    from openhtc.settings.source import load
    from openhtc.storage.database import Database

    path = settings or DataLayout(data_directory(data)).server_settings
    loaded = load(ServerSettings, path, os.environ)

    async def connected() -> T:
        database = await Database.connect(loaded.database_url, 2)
        try:
            return await work(database, loaded)
        finally:
            await database.close()

    return asyncio.run(connected())


def _service(database: "Database") -> "Administration":
    from openhtc.services.administration import Administration

    return Administration(database)


async def _prepare(database: "Database", settings: "ServerSettings") -> list[int]:
    """The schema and a signing key; returns the migrations that were applied now."""
    from openhtc.services.signing import SigningKeys
    from openhtc.storage.migrations import migrate as migrate_database

    applied = await migrate_database(database)
    await SigningKeys(database, settings.secret_key).ensure()
    return applied


@app.command()
def migrate(settings: SettingsOption = None, data: DataOption = None) -> None:
    """Bring the database's schema to this release."""
    print_json({"applied": _run(settings, data, _prepare)})


@app.command()
def bootstrap(
    settings: SettingsOption = None,
    data: DataOption = None,
    rotate: Annotated[bool, typer.Option(help="Replace the keys that an earlier bootstrap made.")] = False,
) -> None:
    """Migrate, then make a first workspace, its admin with an API key, and an agent key; print them once."""

    async def work(database: "Database", loaded: "ServerSettings") -> object:
        await _prepare(database, loaded)
        service = _service(database)
        if not rotate and await service.list_users(None):
            raise InvalidRequest("there are users already: --rotate replaces the bootstrap keys")
        return await service.bootstrap(loaded.default_region)

    typer.echo(msgspec.json.encode(_run(settings, data, work)).decode())


@app.command()
def rotate_signing_key(settings: SettingsOption = None, data: DataOption = None) -> None:
    """Sign bearer tokens with a new key; tokens signed before stay valid until they expire."""

    async def work(database: "Database", loaded: "ServerSettings") -> str:
        from openhtc.services.signing import SigningKeys

        return await SigningKeys(database, loaded.secret_key).rotate()

    print_json({"kid": _run(settings, data, work)})


@workspaces.command("create")
def create_workspace(
    name: str,
    organization: Annotated[
        str, typer.Option(help="Code of the organization, made when it is new.")
    ] = "local",
    region: Annotated[list[Region] | None, typer.Option(help="Enabled region; repeat for more.")] = None,
    settings: SettingsOption = None,
    data: DataOption = None,
) -> None:
    """Make a workspace; its first region is the default of its projects."""

    async def work(database: "Database", loaded: "ServerSettings") -> str:
        regions = region or [loaded.default_region]
        return await _service(database).create_workspace(name, organization, regions)

    print_json({"workspace_id": _run(settings, data, work)})


@workspaces.command("list")
def list_workspaces(
    settings: SettingsOption = None, data: DataOption = None, output: OutputOption = Format.table
) -> None:
    """All workspaces."""
    print_rows(_run(settings, data, lambda database, _: _service(database).list_workspaces()), output)


@users.command("create")
def create_user(
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

    async def work(database: "Database", _: "ServerSettings") -> str:
        return await _service(database).create_user(
            workspace,
            email,
            full_name,
            workspace_admin=workspace_admin,
            organization_admin=organization_admin,
            operator=operator,
        )

    print_json({"user_id": _run(settings, data, work)})


@users.command("list")
def list_users(
    workspace: WorkspaceOption = None,
    settings: SettingsOption = None,
    data: DataOption = None,
    output: OutputOption = Format.table,
) -> None:
    """All users, or one workspace's."""
    print_rows(_run(settings, data, lambda database, _: _service(database).list_users(workspace)), output)


_KINDS = {"api": "api_key", "refresh": "refresh_token", "agent": "agent_key"}


@keys.command("create")
def create_key(
    user: Annotated[str | None, typer.Option(help="Id of the user; agent keys have none.")] = None,
    kind: Annotated[str, typer.Option(help="api, refresh or agent.")] = "api",
    label: str = "",
    settings: SettingsOption = None,
    data: DataOption = None,
) -> None:
    """Make a key and print it: it is stored nowhere and cannot be shown again."""
    if kind not in _KINDS:
        raise InvalidRequest(f"--kind: {kind!r} is none of {', '.join(_KINDS)}")
    if (user is None) != (kind == "agent"):
        raise InvalidRequest("--user: needed for api and refresh, not for agent")

    async def work(database: "Database", _: "ServerSettings") -> tuple[UUID, str]:
        return await _service(database).create_key(_KINDS[kind], user, label)

    key_id, secret = _run(settings, data, work)
    print_json({"key_id": str(key_id), "key": secret})


@keys.command("list")
def list_keys(
    user: Annotated[str | None, typer.Option(help="Only this user's.")] = None,
    settings: SettingsOption = None,
    data: DataOption = None,
    output: OutputOption = Format.table,
) -> None:
    """Every key without its secret."""
    print_rows(_run(settings, data, lambda database, _: _service(database).list_keys(user)), output)


@keys.command("revoke")
def revoke_key(key_id: UUID, settings: SettingsOption = None, data: DataOption = None) -> None:
    """Make a key useless at once; bearer tokens made with it live on until they expire (6 hours)."""

    async def work(database: "Database", _: "ServerSettings") -> None:
        await _service(database).revoke_key(key_id)

    _run(settings, data, work)
    print_json({"revoked": str(key_id)})
