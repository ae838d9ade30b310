"""Makes a backup of an installation that runs, and keeps it complete."""

import asyncio
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from openhtc.backup.database import BackupFailed, Tools, receiving, take_base
from openhtc.backup.layout import BackupLayout, kept_files
from openhtc.backup.objects import ObjectCopies
from openhtc.domain.errors import SettingsError
from openhtc.embedded.foundation import make_foundation
from openhtc.embedded.installation import Installation, read_installation
from openhtc.embedded.layout import DataLayout, check_version
from openhtc.embedded.report import running_supervisor
from openhtc.embedded.s3 import BUCKET, REGION, REGION_BUCKETS
from openhtc.objects.connection import connect

if TYPE_CHECKING:
    from obstore.store import S3Store

Say = Callable[[str], None]

BUCKETS = (BUCKET, *REGION_BUCKETS.values())


class Backup:
    """Of one installation in one directory. Raises SettingsError when nothing runs there."""

    def __init__(self, data: DataLayout, backup: BackupLayout, say: Say) -> None:
        check_version(data)
        if running_supervisor(data) is None:
            raise SettingsError(f"nothing runs in {data.root}: openhtc up starts it")
        self._data, self._backup, self._say = data, backup, say
        backup.create()
        installation = read_installation(data)
        foundation = make_foundation(data, installation)
        self._tools = Tools(foundation.postgres)
        self._endpoint = foundation.s3.address
        self._installation = installation
        self._objects = {name: ObjectCopies(backup.objects / name) for name in BUCKETS}

    async def run(self, stop: asyncio.Event, every_seconds: float | None) -> datetime:
        """A base and all objects; then, unless None, what is new every so often until ``stop``. Returns until when."""
        async with receiving(self._tools, self._backup.wal) as receiver:
            for name, path in kept_files(self._data).items():
                shutil.copy2(path, self._backup.installation / name)
            self._say("copying the database")
            await take_base(self._tools, self._backup)
            until = await self._catch_up()
            while every_seconds is not None and not stop.is_set():
                await _first_of(stop, receiver, every_seconds)
                until = await self._catch_up()
        return until

    async def _catch_up(self) -> datetime:
        """All that the database speaks of now is copied afterwards: objects are written before they are reported."""
        now = await self._tools.now()
        objects = 0
        for name, copies in self._objects.items():
            self._say(f"copying objects of {name}")
            objects += await copies.fetch(store_of(self._endpoint, self._installation, name))
        images = await asyncio.to_thread(
            copy_new, self._data.part("registry") / "images", self._backup.images
        )
        await self._tools.leave_mark()
        self._backup.note_reach(now)
        self._say(f"complete until {now:%H:%M:%S} UTC: {objects} objects and {images} files of images more")
        return now


async def _first_of(stop: asyncio.Event, receiver: asyncio.subprocess.Process, seconds: float) -> None:
    """Wait. Raises BackupFailed when the database's log does not come any more."""
    waits = [asyncio.ensure_future(stop.wait()), asyncio.ensure_future(receiver.wait())]
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
    if receiver.returncode is not None:
        raise BackupFailed("the database's log does not come any more: make the backup again")


def store_of(endpoint: str, installation: Installation, bucket: str) -> "S3Store":
    secrets = installation.secrets
    return connect(endpoint, REGION, bucket, secrets.s3_access_key, secrets.s3_secret_key)


def copy_new(source: Path, target: Path) -> int:
    """Copy files that are not there, or differ in size or time; how many. Uploads that go on are left out."""
    copied = 0
    for path in source.rglob("*"):
        if "_uploads" in path.parts or not path.is_file():
            continue
        copy = target / path.relative_to(source)
        stat = path.stat()
        if copy.exists() and (copy.stat().st_size, copy.stat().st_mtime_ns) == (
            stat.st_size,
            stat.st_mtime_ns,
        ):
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        unfinished = copy.with_name(copy.name + ".new")
        shutil.copy2(path, unfinished)
        unfinished.replace(copy)
        copied += 1
    return copied
