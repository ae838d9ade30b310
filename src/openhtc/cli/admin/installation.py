"""The database's schema, the first identities, and the signing keys."""

from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from openhtc.cli.admin.connection import SettingsOption, actor, run
from openhtc.cli.data_option import DataOption
from openhtc.cli.output import print_json
from openhtc.domain.errors import InvalidRequest
from openhtc.lifecycle.machine import machine_architecture

if TYPE_CHECKING:
    from openhtc.settings.server import ServerSettings
    from openhtc.storage.database import Database


async def _prepare(database: "Database", settings: "ServerSettings") -> list[int]:
    """The schema and a signing key; returns the migrations that were applied now."""
    from openhtc.services.signing import SigningKeys
    from openhtc.storage.migrations import migrate as migrate_database

    applied = await migrate_database(database)
    await SigningKeys(database, settings.secret_key).ensure()
    return applied


def migrate(settings: SettingsOption = None, data: DataOption = None) -> None:
    """Bring the database's schema to this release."""
    print_json({"applied": run(settings, data, _prepare)})


def bootstrap(
    settings: SettingsOption = None,
    data: DataOption = None,
    rotate: Annotated[bool, typer.Option(help="Replace the keys that an earlier bootstrap made.")] = False,
) -> None:
    """Migrate, then make a first workspace, its admin with an API key, and an agent key; print them once."""

    async def work(database: "Database", loaded: "ServerSettings") -> object:
        from openhtc.services.administration import Administration

        await _prepare(database, loaded)
        service = Administration(database, database.now, actor())
        if not rotate and await service.list_users(None):
            raise InvalidRequest("there are users already: --rotate replaces the bootstrap keys")
        return await service.bootstrap(loaded.default_regions, machine_architecture())

    typer.echo(msgspec.json.encode(run(settings, data, work)).decode())


def restored(settings: SettingsOption = None, data: DataOption = None) -> None:
    """After the database was set back to an earlier moment, and before any server starts: once.

    No lease, agent or batch gets a number again that was given after that moment, and agents of that time have to
    open new sessions. `openhtc restore` does it by itself.
    """

    async def work(database: "Database", _: "ServerSettings") -> None:
        from openhtc.services.restoring import make_usable

        await make_usable(database, database.now)

    run(settings, data, work)


def rotate_signing_key(settings: SettingsOption = None, data: DataOption = None) -> None:
    """Sign bearer tokens with a new key, from a minute after; tokens signed before stay valid until they expire."""

    async def work(database: "Database", loaded: "ServerSettings") -> str:
        from openhtc.services.signing import SigningKeys

        return await SigningKeys(database, loaded.secret_key).rotate(actor(), database.now())

    print_json({"kid": run(settings, data, work)})
