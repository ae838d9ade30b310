"""The database's part of a backup: PostgreSQL's own tools, as its superuser on loopback."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from openhtc.domain.errors import OpenhtcError
from openhtc.embedded.part import child_environment, die_with_parent
from openhtc.embedded.postgres import PostgresPart
from openhtc.embedded.programs import find_postgres

SLOT = "openhtc_backup_"
"""What the names of our slots begin with. A slot keeps what the receiver has not got yet, up to the settings' limit."""
_ARRIVES_SECONDS = 60.0
_LOOK_SECONDS = 0.05


class BackupFailed(OpenhtcError):
    code = "BACKUP_FAILED"


class Tools:
    """PostgreSQL's client programs for one cluster. They end with this process, and not by the terminal's Ctrl-C."""

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

    async def start(
        self, program: str, *arguments: str, says_to: IO[bytes] | None = None
    ) -> asyncio.subprocess.Process:
        where = self._where
        address = ("-h", where.hostname or "", "-p", str(where.port), "-U", where.username or "")
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(
            *(*die_with_parent(), str(find_postgres() / program), *address, "--no-password", *arguments),
            env=child_environment(PGPASSWORD=where.password or ""),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=says_to or pipe,
            stderr=says_to or pipe,
            start_new_session=True,
        )

    async def ask(self, statement: str) -> str:
        """The one value of a statement's one row; empty when there is none."""
        return (await self.run("psql", "-XAtqc", statement, "postgres")).strip()

    async def now(self) -> datetime:
        """The database's clock, which its log has."""
        micros = await self.ask("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
        return datetime.fromtimestamp(int(micros) / 1e6, UTC)

    async def system(self) -> str:
        return await self.ask("SELECT system_identifier FROM pg_control_system()")

    async def leave_mark(self) -> str:
        """A commit, so that the log has a time after everything before it; where the log is then."""
        await self.ask("SELECT pg_logical_emit_message(true, 'openhtc', 'backup')")
        return await self.ask("SELECT pg_current_wal_insert_lsn()")

    async def drop_left_slots(self) -> None:
        """Of backups that were killed. None must be under way."""
        slots = f"FROM pg_replication_slots WHERE slot_name LIKE '{SLOT}%' AND NOT active"
        await self.ask(f"SELECT count(pg_drop_replication_slot(slot_name)) {slots}")


async def take_base(tools: Tools, target: Path) -> datetime:
    """Copy the database's files while it works; from when on that copy, with the log, can restore a moment."""
    await tools.run("pg_basebackup", "-D", str(target), "-X", "stream", "-c", "fast")
    await tools.leave_mark()
    return await tools.now()


class Receiver:
    """Writes the database's log down a moment after it is written there."""

    def __init__(self, tools: Tools, process: asyncio.subprocess.Process, slot: str, said: Path) -> None:
        self._tools, self._process, self._slot, self._said = tools, process, slot, said

    async def has(self, position: str) -> None:
        """Return when it has written all before that. Raises BackupFailed when that does not come."""
        statement = (
            f"SELECT restart_lsn >= '{position}'::pg_lsn FROM pg_replication_slots"  # noqa: S608 - ours
            f" WHERE slot_name = '{self._slot}'"
        )
        try:
            async with asyncio.timeout(_ARRIVES_SECONDS):
                while await self._tools.ask(statement) != "t":
                    self._require()
                    await asyncio.sleep(_LOOK_SECONDS)
        except TimeoutError as error:
            raise BackupFailed("the database's log does not come: make the backup again") from error

    async def ended(self) -> None:
        await self._process.wait()

    def _require(self) -> None:
        if self._process.returncode is not None:
            said = self._said.read_text(errors="replace").strip().splitlines()[-1:]
            raise BackupFailed(f"the database's log does not come any more: {' '.join(said)}")


@asynccontextmanager
async def receiving(tools: Tools, log: Path, name: str) -> AsyncIterator[Receiver]:
    """The database's log is written to the directory ``log`` while inside."""
    slot = SLOT + name.lower()
    words, said = ("-D", str(log), "--slot", slot), log.with_name("receiver.log")
    await tools.run("pg_receivewal", *words, "--create-slot")
    with said.open("ab") as file:
        process = await tools.start("pg_receivewal", *words, "--synchronous", "--no-loop", says_to=file)
    try:
        yield Receiver(tools, process, slot, said)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
            await process.wait()
        await tools.run("pg_receivewal", *words, "--drop-slot")
