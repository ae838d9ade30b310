"""Makes a backup of an installation that runs, and keeps it complete."""

import asyncio
import os
import shutil
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from openhtc.backup.database import BackupFailed, Receiver, Tools, receiving, take_base
from openhtc.backup.layout import BackupLayout, RunLayout, Stretch, kept_files
from openhtc.backup.objects import ObjectCopies
from openhtc.domain.errors import SettingsError
from openhtc.embedded.foundation import make_foundation
from openhtc.embedded.installation import Installation, read_installation
from openhtc.embedded.layout import DataLayout, check_version
from openhtc.embedded.private_files import write_private
from openhtc.embedded.report import running_supervisor
from openhtc.embedded.s3 import BUCKET, REGION, REGION_BUCKETS
from openhtc.lifecycle.locks import FileLock
from openhtc.objects.copies import WholeBucket

T = TypeVar("T")
Say = Callable[[str], None]

BUCKETS = (BUCKET, *REGION_BUCKETS.values())
_NAME = "%Y%m%dt%H%M%Sz"


class Backup:
    """Of one installation in one directory. Raises SettingsError when nothing runs there."""

    def __init__(self, data: DataLayout, backup: BackupLayout, say: Say) -> None:
        check_version(data)
        if running_supervisor(data) is None:
            raise SettingsError(f"nothing runs in {data.root}: openhtc up starts it")
        self._data, self._backup, self._say = data, backup, say
        self._installation = read_installation(data)
        foundation = make_foundation(data, self._installation)
        self._tools = Tools(foundation.postgres)
        self._endpoint = foundation.s3.address

    async def run(self, stop: asyncio.Event, every_seconds: float | None) -> Stretch:
        """A copy of everything; then, unless None, what is new every so often until ``stop``. What it can restore.

        Raises BackupFailed, also when it is stopped before it can restore anything.
        """
        self._backup.create()
        with FileLock(self._backup.lock) as lock:
            if not lock.acquire():
                raise SettingsError(f"another backup into {self._backup.root} is under way")
            self._backup.claim(await self._tools.system())
            self._backup.drop_unfinished()
            await self._tools.drop_left_slots()
            name = f"{await self._tools.now():{_NAME}}"
            run = self._backup.new_run(name)
            async with receiving(self._tools, run.log, name) as receiver:
                stretch = await _unless(stop, self._first(run, receiver))
                if stretch is None:
                    raise BackupFailed("stopped before the backup was complete")
                while every_seconds is not None and not stop.is_set():
                    await _first_of(stop.wait(), receiver.ended(), asyncio.sleep(every_seconds))
                    if not stop.is_set():
                        stretch = await _unless(stop, self._catch_up(run, receiver, stretch)) or stretch
            return stretch

    async def _first(self, run: RunLayout, receiver: Receiver) -> Stretch:
        for name, path in kept_files(self._data).items():
            write_private(run.installation / name, path.read_bytes())
        self._say("copying the database")
        usable_from = await take_base(self._tools, run.database)
        return await self._catch_up(run, receiver, Stretch(usable_from, usable_from))

    async def _catch_up(self, run: RunLayout, receiver: Receiver, before: Stretch) -> Stretch:
        """All that the database speaks of now is copied afterwards: objects are written before they are reported."""
        now = await self._tools.now()
        objects = 0
        for name in BUCKETS:
            self._say(f"copying objects of {name}")
            copies = ObjectCopies(self._backup.objects / name)
            objects += await copies.fetch(bucket_of(self._endpoint, self._installation, name))
        source = self._data.part("registry") / "images"
        images = await asyncio.to_thread(copy_new, source, self._backup.images)
        await receiver.has(await self._tools.leave_mark())
        os.sync()
        stretch = Stretch(before.usable_from, now)
        run.note(stretch)
        self._say(f"complete until {now:%H:%M:%S} UTC: {objects} objects and {images} files of images more")
        return stretch


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """What the work gives; None when it was stopped before."""
    task = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
        return await task if task.done() else None
    finally:
        for each in (task, stopping):
            each.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.wait({task})


async def _first_of(*waits: Coroutine[Any, Any, Any]) -> None:
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


def bucket_of(endpoint: str, installation: Installation, bucket: str) -> WholeBucket:
    secrets = installation.secrets
    return WholeBucket(
        endpoint=endpoint,
        region=REGION,
        bucket=bucket,
        access_key=secrets.s3_access_key,
        secret_key=secrets.s3_secret_key,
    )


def copy_new(source: Path, target: Path) -> int:
    """Copy files that are not there, or differ in size or time; how many. Uploads that go on are left out, and what
    vanishes meanwhile is.
    """
    copied = 0
    for folder, folders, names in os.walk(source):
        folders[:] = [name for name in folders if name != "_uploads"]
        for name in names:
            with suppress(FileNotFoundError):
                copied += _copy_if_new(Path(folder, name), target / Path(folder, name).relative_to(source))
    return copied


def _copy_if_new(path: Path, copy: Path) -> bool:
    stat = path.stat()
    with suppress(FileNotFoundError):
        there = copy.stat()
        if (there.st_size, there.st_mtime_ns) == (stat.st_size, stat.st_mtime_ns):
            return False
    copy.parent.mkdir(parents=True, exist_ok=True)
    unfinished = copy.with_name(copy.name + ".new")
    shutil.copy2(path, unfinished)
    unfinished.replace(copy)
    return True
