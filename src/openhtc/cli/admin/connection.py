"""Runs an operator's command on the database that the server's settings name."""

import asyncio
import os
import pwd
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from openhtc.cli.data_option import data_directory

if TYPE_CHECKING:
    from openhtc.services.administration import Administration
    from openhtc.settings.server import ServerSettings
    from openhtc.storage.database import Database

T = TypeVar("T")

SettingsOption = Annotated[
    Path | None, typer.Option(help="The server's settings file; by default that of the data directory.")
]


def actor() -> str:
    """Who acts, as the audit trail names them: the user that runs the command, whatever the environment says."""
    user_id = os.getuid()
    try:
        return f"operator:{pwd.getpwuid(user_id).pw_name}"
    except KeyError:
        return f"operator:{user_id}"


def run(
    settings: Path | None, data: Path | None, work: "Callable[[Database, ServerSettings], Awaitable[T]]"
) -> T:
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


def administer(
    settings: Path | None, data: Path | None, work: "Callable[[Administration], Awaitable[T]]"
) -> T:
    """Run with the service for users, workspaces and keys, in the name of the operator."""
    from openhtc.services.administration import Administration

    return run(settings, data, lambda database, _: work(Administration(database, database.now, actor())))
