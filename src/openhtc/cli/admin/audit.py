"""`openhtc admin audit`."""

from typing import TYPE_CHECKING, Annotated

import typer

from openhtc.cli.admin.connection import SettingsOption, run
from openhtc.cli.data_option import DataOption
from openhtc.cli.output import Format, OutputOption, print_rows

if TYPE_CHECKING:
    from openhtc.settings.server import ServerSettings
    from openhtc.storage.audit import Entry
    from openhtc.storage.database import Database

_NEWEST = 2**63 - 1


def audit(
    actor: Annotated[
        str | None, typer.Option(help="Only what this one did: a user's id or operator:<login>.")
    ] = None,
    subject: Annotated[
        str | None, typer.Option(help="Only what was done to this, e.g. project:<id>, user:<id>.")
    ] = None,
    before: Annotated[int, typer.Option(help="Only entries older than the one with this id.")] = _NEWEST,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")] = 100,
    settings: SettingsOption = None,
    data: DataOption = None,
    output: OutputOption = Format.table,
) -> None:
    """Who changed what, the newest first: users, keys, roles, limits, dimensions, policies, regions, deletions."""

    async def work(database: "Database", _: "ServerSettings") -> "list[Entry]":
        from openhtc.storage.audit import list_entries

        async with database.connection() as connection:
            return await list_entries(connection, before, actor, subject, limit)

    print_rows(run(settings, data, work), output)
