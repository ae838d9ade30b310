"""Starts a part's program, records it, and ends it; also what a former supervisor left behind."""

import asyncio
import contextlib
import os
import signal
import time
from pathlib import Path

import msgspec

from openhtc.embedded.part import Part
from openhtc.embedded.private_files import write_private
from openhtc.lifecycle.identity import ProcessIdentity, process_identity

LOG_LIMIT = 10 * 1024 * 1024
"""Bytes above which a log is moved aside at the next start; one former log is kept."""

LEFTOVER_SECONDS = 10.0


class RunRecord(msgspec.Struct, frozen=True):
    """DATA/run/<part>.json: the process that was started last."""

    pid: int
    started: int
    boot: str
    address: str

    @property
    def identity(self) -> ProcessIdentity:
        return ProcessIdentity(pid=self.pid, started=self.started, boot=self.boot)


def read_record(path: Path) -> RunRecord | None:
    """The record, None when there is none or a crash of the machine damaged it."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=RunRecord)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def write_record(path: Path, identity: ProcessIdentity, address: str) -> None:
    record = RunRecord(pid=identity.pid, started=identity.started, boot=identity.boot, address=address)
    write_private(path, msgspec.json.encode(record))


class Child:
    """One running program of a part, leader of a session of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.began = time.monotonic()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ended(self) -> bool:
        return self._process.returncode is not None

    async def wait(self) -> int:
        """The exit code; minus the signal's number when one ended it."""
        return await self._process.wait()

    async def stop(self, part: Part, hurry: asyncio.Event) -> None:
        """Send the part's signals in their order, then SIGKILL to all that is left of its session.

        When ``hurry`` is set the remaining waits shrink to a second.
        """
        for step in part.stop_steps:
            if self._process.returncode is not None:
                break
            self._process.send_signal(step.signal)
            await self._wait_patiently(step.seconds, hurry)
        await self.end_at_once()

    async def end_at_once(self) -> None:
        """SIGKILL its session and wait for its end."""
        kill_session(self._process.pid)
        await self._process.wait()

    async def _wait_patiently(self, seconds: float, hurry: asyncio.Event) -> None:
        ended = asyncio.ensure_future(self._process.wait())
        hurried = asyncio.ensure_future(hurry.wait())
        try:
            await asyncio.wait({ended, hurried}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                await asyncio.wait({ended}, timeout=1.0 if hurry.is_set() else 0.0)
        finally:
            ended.cancel()
            hurried.cancel()


async def spawn(part: Part, record: Path) -> Child:
    """Start the part's program with its output appended to its log, and record it.

    Must run in the main thread: the signal at the parent's end is tied to the thread that forks.
    """
    command = part.command()
    rotate(part.log)
    output = os.open(part.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        process = await asyncio.create_subprocess_exec(
            *command.args,
            env=command.env,
            cwd=command.cwd,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    finally:
        os.close(output)
    child = Child(process)
    identity = process_identity(process.pid)
    if identity is not None:
        try:
            write_record(record, identity, part.address)
        except OSError:  # a full disk: nobody could find the child later
            await child.end_at_once()
            raise
    return child


def rotate(log: Path) -> None:
    """Move a log that has grown large aside."""
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > LOG_LIMIT:
            log.replace(log.with_name(log.name + ".1"))


def last_lines(log: Path, count: int = 10) -> list[str]:
    """The end of a log, for the person who has to find out why a part does not start."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 16_384))
            return file.read().decode(errors="replace").splitlines()[-count:]
    except OSError:
        return []


def end_leftover(record: Path) -> bool:
    """End what a supervisor that was killed left of this part; True when something was left."""
    found = read_record(record)
    if found is None:
        return False
    alive = found.identity.is_alive()
    if found.boot == boot_of_now():
        alive = kill_session(found.pid, not_before=found.started) or alive
    found.identity.wait_gone(LEFTOVER_SECONDS)
    record.unlink(missing_ok=True)
    return alive


def boot_of_now() -> str:
    own = process_identity(os.getpid())
    assert own is not None
    return own.boot


def kill_session(session: int, *, not_before: int = 0) -> bool:
    """SIGKILL every process of the session that started at ``not_before`` (clock ticks) or later.

    The kernel does not give a session's number to a new process while one of its members lives.
    """
    killed = False
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and int(fields[19]) >= not_before and fields[0] not in ("Z", "X"):
            identity = process_identity(int(entry.name))
            killed = (identity is not None and identity.signal(signal.SIGKILL)) or killed
    return killed
