"""`openhtc admin workspaces dimensions`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from openhtc.cli.admin.connection import SettingsOption, actor, run
from openhtc.cli.data_option import DataOption
from openhtc.cli.output import print_json
from openhtc.domain.errors import InvalidRequest, NotFound

if TYPE_CHECKING:
    from openhtc.domain.dimensions import Environment
    from openhtc.settings.server import ServerSettings
    from openhtc.storage.database import Database
    from openhtc.storage.dimensions import Entry


def workspace_dimensions(
    workspace: str,
    file: Annotated[
        Path | None,
        typer.Option(help="JSON array of environments, as the API shows them, that replaces the list."),
    ] = None,
    clear: Annotated[bool, typer.Option(help="Allow every environment again.")] = False,
    settings: SettingsOption = None,
    data: DataOption = None,
) -> None:
    """Show, replace or clear the environments that a workspace's jobs may run in. Without an option: show."""
    from openhtc.api.schemas.dimensions import environment_body

    if clear and file is not None:
        raise InvalidRequest("say either --file FILE or --clear")
    wanted = [] if clear else None if file is None else _read(file)

    async def work(database: "Database", _: "ServerSettings") -> "list[Entry]":
        from openhtc.services.dimensions import Dimensions

        if wanted is None:
            return await _shown(database, workspace)
        return await Dimensions(database, database.now).set_workspace(actor(), workspace, wanted)

    print_json([environment_body(entry) for entry in run(settings, data, work)])


async def _shown(database: "Database", workspace: str) -> "list[Entry]":
    from openhtc.storage.dimensions import list_entries
    from openhtc.storage.identity import describe_workspace

    async with database.connection() as connection:
        if await describe_workspace(connection, workspace) is None:
            raise NotFound(f"there is no workspace {workspace!r}")
        return await list_entries(connection, workspace, None)


def _read(file: Path) -> "list[Environment]":
    """Raises InvalidRequest for everything that is not a list of environments.

    A member that nobody knows is refused here: a misspelt one would allow more than was meant.
    """
    from openhtc.api.schemas.dimensions import EnvironmentBody, EnvironmentEntry, environment

    try:
        content = file.read_bytes()
        entries = msgspec.json.decode(content, type=list[EnvironmentEntry])
        raw = msgspec.json.decode(content, type=list[dict[str, object]])
    except OSError as error:
        raise InvalidRequest(f"{file}: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{file}: {error}") from None
    known = {field.encode_name for field in msgspec.structs.fields(EnvironmentBody)}
    for position, entry in enumerate(raw):
        if unknown := sorted(entry.keys() - known):
            raise InvalidRequest(
                f"{file}: [{position}]: {unknown[0]!r} is none of {', '.join(sorted(known))}"
            )
    return [environment(entry) for entry in entries]
