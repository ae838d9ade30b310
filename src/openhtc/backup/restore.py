"""Makes a new installation of a backup, as of its last or any earlier moment."""

import asyncio
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from openhtc.backup.backup import BUCKETS, bucket_of, copy_new
from openhtc.backup.database import Tools
from openhtc.backup.layout import BackupLayout, RunLayout, kept_files
from openhtc.backup.objects import ObjectCopies
from openhtc.domain.errors import SettingsError
from openhtc.embedded import ports
from openhtc.embedded.installation import (
    Installation,
    choose_ports,
    open_installation,
    read_installation,
    save_installation,
)
from openhtc.embedded.layout import DataLayout, open_layout
from openhtc.embedded.options import UpOptions
from openhtc.embedded.postgres import SYSTEM_USER, PostgresPart
from openhtc.embedded.private_files import private_directory, write_private
from openhtc.embedded.stack import Stack
from openhtc.services.restoring import make_usable
from openhtc.storage.database import Database

Say = Callable[[str], None]
_LOOK_SECONDS = 0.5
_AUTO_CONF = "postgresql.auto.conf"


async def restore(
    backup: BackupLayout, root: Path, at: datetime | None, api_port: int | None, say: Say
) -> None:
    """Write the new installation below ``root``, which is missing or empty, and leave it stopped.

    ``at`` None is the backup's last moment. Raises InvalidRequest for a moment that it does not reach.
    It gets its name when it is complete: whatever goes wrong, ``root`` is as it was.
    """
    run, moment = backup.run_for(at)
    _require_empty(root)
    unfinished = root.with_name(f"{root.name}.restoring")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        await _restore(backup, run, unfinished, moment, api_port, say)
        unfinished.replace(root)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _require_empty(root: Path) -> None:
    if root.exists() and any(root.iterdir()):
        raise SettingsError(f"{root} is not empty: name an empty or a new directory")
    root.parent.mkdir(parents=True, exist_ok=True)


async def _restore(
    backup: BackupLayout, run: RunLayout, root: Path, at: datetime, api_port: int | None, say: Say
) -> None:
    layout = open_layout(root)
    _put_files(run, layout)
    _give_ports(layout, api_port)
    say("copying images")
    private_directory(layout.part("registry"))
    copy_new(backup.images, layout.part("registry") / "images")
    stack = Stack(UpOptions(layout.root))
    postgres = stack.parts.foundation.postgres
    try:
        say(f"copying the database of {run.root.name}")
        await asyncio.to_thread(_put_database, run, postgres, at)
        say("starting PostgreSQL, S3 and the registry; PostgreSQL reads its log")
        await stack.start_foundation()
        await _recovered(Tools(postgres), say)
        for name in BUCKETS:
            copies = ObjectCopies(backup.objects / name)
            say(f"writing {len(copies)} objects of {name}")
            await copies.put_back(bucket_of(stack.parts.foundation.s3.address, stack.installation, name))
        database = await Database.connect(postgres.url, 1)
        try:
            await make_usable(database, database.now)
        finally:
            await database.close()
    finally:
        await stack.stop()
    _tidy(postgres)


def _put_files(run: RunLayout, layout: DataLayout) -> None:
    private_directory(layout.part("agent"))
    private_directory(layout.part("registry"))
    for name, path in kept_files(layout).items():
        write_private(path, (run.installation / name).read_bytes())


def _give_ports(layout: DataLayout, api_port: int | None) -> Installation:
    """The ports it had, unless somebody has them here. Raises SettingsError when the API's port cannot be had."""
    found = read_installation(layout)
    api = api_port or found.ports.api
    ports.require_free("server", (api,))
    had = {name: port for name, port in msgspec.structs.asdict(found.ports).items() if name != "api"}
    second = [port + ports.GRPC_OFFSET for name, port in had.items() if name.startswith("s3")]
    if not all(map(ports.is_free, (*had.values(), *second))):
        save_installation(layout, msgspec.structs.replace(found, ports=choose_ports(api)))
    return open_installation(layout, api)


def _put_database(run: RunLayout, postgres: PostgresPart, at: datetime) -> None:
    """The database's files, the log from then on, and until when PostgreSQL is to follow it."""
    owner = SYSTEM_USER if os.geteuid() == 0 else None
    private_directory(postgres.directory, owner=owner)
    shutil.copytree(run.database, postgres.cluster)
    _copy_log(run.log, _log_copy(postgres))
    seen = f"{postgres.visible}/{_log_copy(postgres).name}"
    # The newest file of the log is still incomplete.
    lines = [
        f'restore_command = \'cp "{seen}/%f" "%p" || cp "{seen}/%f.partial" "%p"\'',
        f"recovery_target_time = '{at.astimezone(UTC).isoformat()}'",
        "recovery_target_action = 'promote'",
    ]
    with (postgres.cluster / _AUTO_CONF).open("a") as file:
        file.write("\n".join([*lines, ""]))
    (postgres.cluster / "recovery.signal").touch()
    if owner is not None:
        for folder, _, names in os.walk(postgres.directory):
            for path in (Path(folder), *(Path(folder, name) for name in names)):
                shutil.chown(path, owner, owner)
    postgres.cluster.chmod(0o700)


def _copy_log(source: Path, target: Path) -> None:
    """A file that a backup which is under way has just given its last name is there under that in the second round."""
    private_directory(target)
    for _ in range(2):
        for file in source.iterdir():
            with suppress(FileNotFoundError):
                if not (target / file.name).exists() or file.suffix == ".partial":
                    shutil.copy2(file, target / file.name)


def _log_copy(postgres: PostgresPart) -> Path:
    return postgres.directory / "restored-log"


async def _recovered(tools: Tools, say: Say) -> None:
    """PostgreSQL answers long before it has read all of its log."""
    while await tools.ask("SELECT pg_is_in_recovery()") == "t":
        say(f"PostgreSQL has come to {await tools.ask('SELECT pg_last_xact_replay_timestamp()')}")
        await asyncio.sleep(_LOOK_SECONDS)


def _tidy(postgres: PostgresPart) -> None:
    shutil.rmtree(_log_copy(postgres))
    conf = postgres.cluster / _AUTO_CONF
    kept = [line for line in conf.read_text().splitlines() if not line.startswith(("restore_", "recovery_"))]
    conf.write_text("\n".join([*kept, ""]))
