"""The database's part of a backup: PostgreSQL's own tools, as its superuser on loopback."""

import asyncio
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from openhtc.backup.layout import BackupLayout, Base, base_name
from openhtc.domain.errors import OpenhtcError
from openhtc.embedded.part import child_environment
from openhtc.embedded.postgres import PostgresPart
from openhtc.embedded.private_files import private_directory, sync_directory, write_private
from openhtc.embedded.programs import find_postgres

SLOT = "openhtc_backup"
"""Keeps what the receiver has not got yet, up to the limit in the settings."""


class BackupFailed(OpenhtcError):
    code = "BACKUP_FAILED"


class Tools:
    """PostgreSQL's client programs for one cluster."""

    def __init__(self, postgres: PostgresPart) -> None:
        self._where = urlsplit(postgres.superuser_url)

    async def run(self, program: str, *arguments: str) -> str:
        """What it prints. Raises BackupFailed with the last line that it said."""
        process = await self.start(program, *arguments)
        try:
            printed, said = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0:
            lines = said.decode(errors="replace").strip().splitlines() or [f"exit code {process.returncode}"]
            raise BackupFailed(f"{program}: {lines[-1]}")
        return printed.decode()

    async def start(self, program: str, *arguments: str) -> asyncio.subprocess.Process:
        where = self._where
        address = ("-h", where.hostname or "", "-p", str(where.port), "-U", where.username or "")
        return await asyncio.create_subprocess_exec(
            *(str(find_postgres() / program), *address, "--no-password", *arguments),
            env=child_environment(PGPASSWORD=where.password or ""),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def ask(self, statement: str) -> str:
        """The one value of a statement's one row."""
        return (await self.run("psql", "-XAtqc", statement, "postgres")).strip()

    async def now(self) -> datetime:
        """The database's clock, which its log has."""
        micros = await self.ask("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
        return datetime.fromtimestamp(int(micros) / 1e6, UTC)

    async def leave_mark(self) -> None:
        """A commit, so that the log has a time after everything before it."""
        await self.ask("SELECT txid_current()")


async def take_base(tools: Tools, layout: BackupLayout) -> Base:
    """Copy the database's files while it works. The copy gets its name when it is complete."""
    began_at = await tools.now()
    name = base_name(began_at)
    unfinished = layout.bases / f"{name}.new"
    shutil.rmtree(unfinished, ignore_errors=True)
    private_directory(unfinished)
    await tools.run("pg_basebackup", "-D", str(unfinished / "postgres"), "-X", "stream", "-c", "fast")
    await tools.leave_mark()
    base = Base(name, began_at, await tools.now())
    write_private(unfinished / "base.json", msgspec.json.encode(base))
    unfinished.rename(layout.bases / name)
    sync_directory(layout.bases)
    return base


@asynccontextmanager
async def receiving(tools: Tools, wal: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """The database's log is written to ``wal`` while inside, a moment after it is written there."""
    words = ("-D", str(wal), "--slot", SLOT)
    await tools.run("pg_receivewal", *words, "--create-slot", "--if-not-exists")
    process = await tools.start("pg_receivewal", *words, "--synchronous")
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
            await process.communicate()
        # What is missing from now on is in the next base.
        await tools.run("pg_receivewal", *words, "--drop-slot")
