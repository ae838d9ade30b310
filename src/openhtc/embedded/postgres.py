"""PostgreSQL as a child: Debian's programs, our own cluster, loopback TCP only.

Root cannot run PostgreSQL. Then the cluster belongs to Debian's user ``postgres`` and is seen, in a mount
namespace of its own, at a place which that user can reach: the data directory itself may be below /root.
"""

import asyncio
import os
import pwd
import secrets
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from openhtc.domain.errors import SettingsError
from openhtc.embedded.open_view import open_place, shown_at
from openhtc.embedded.part import Command, Part, StopStep, child_environment
from openhtc.embedded.ports import LOOPBACK, choose
from openhtc.embedded.postgres_settings import settings_text
from openhtc.embedded.private_files import private_directory, sync_directory, write_private
from openhtc.embedded.programs import find_postgres, find_program

SYSTEM_USER = "postgres"
SUPERUSER = "postgres"
ROLE = "openhtc"
DATABASE = "openhtc"
VISIBLE_AT = Path("/var/lib/postgresql")
"""Where the system user sees the cluster: the home that Debian's package gives it."""


class PostgresPart(Part):
    """One cluster in ``directory``/data, with the role and the database ``openhtc``.

    ``passwords`` are of the superuser and of the role; ``tuning`` are settings over ours.
    """

    name = "postgres"
    start_seconds = 300.0  # a crash in the middle of heavy writing may leave minutes of log to replay
    stop_steps = (StopStep(signal.SIGINT, 20.0), StopStep(signal.SIGQUIT, 5.0))

    def __init__(
        self,
        directory: Path,
        port: int,
        *,
        superuser_password: str,
        password: str,
        log: Path,
        tuning: Mapping[str, str] | None = None,
    ) -> None:
        self.directory = directory
        self.port = port
        self.ports = (port,)
        self.address = f"{LOOPBACK}:{port}"
        self.log = log
        self.url = f"postgresql://{ROLE}:{password}@{self.address}/{DATABASE}"
        self.superuser_url = f"postgresql://{SUPERUSER}:{superuser_password}@{self.address}/postgres"
        self._superuser_password = superuser_password
        self._password = password
        self._tuning = dict(tuning or {})

    @property
    def cluster(self) -> Path:
        return self.directory / "data"

    def prepare(self) -> None:
        self.create_if_missing()
        # The supervisor has ended the former postmaster before it starts another one. A lock file still here
        # names a pid that may be any program's by now, another installation's postmaster included.
        (self.cluster / "postmaster.pid").unlink(missing_ok=True)
        write_private(self.cluster / "openhtc.conf", settings_text(self.port, self._tuning).encode())
        self._give(self.cluster / "openhtc.conf")

    def create_if_missing(self) -> None:
        """Make the cluster. It gets its name only when it is complete, so a crash leaves none."""
        private_directory(self.directory, owner=SYSTEM_USER if os.geteuid() == 0 else None)
        if self.cluster.exists():
            return
        unfinished = self.directory / "data.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        self._initialise(unfinished)
        unfinished.rename(self.cluster)
        sync_directory(self.directory)

    def command(self) -> Command:
        return self._command("postgres", "-D", f"{self.visible}/data")

    async def check(self) -> str | None:
        program = find_postgres() / "pg_isready"
        process = await asyncio.create_subprocess_exec(
            *(program, "-q", "-t", "3", "-h", LOOPBACK, "-p", str(self.port), "-d", DATABASE, "-U", ROLE),
            env=child_environment(),
        )
        code = await process.wait()
        return {0: None, 1: "it refuses connections", 2: "no answer"}.get(
            code, f"pg_isready ended with {code}"
        )

    @property
    def visible(self) -> Path:
        """Where PostgreSQL itself sees ``directory``."""
        if os.geteuid() != 0:
            return self.directory
        return VISIBLE_AT if VISIBLE_AT.is_dir() else open_place(find_postgres())

    def _command(self, program: str, *arguments: str) -> Command:
        """The program as the right user; it dies with us by SIGQUIT, PostgreSQL's immediate stop."""
        binary = str(find_postgres() / program)
        setpriv = [str(find_program("setpriv")), "--pdeathsig", "QUIT"]
        if os.geteuid() != 0:
            return Command((*setpriv, "--", binary, *arguments), child_environment(), Path("/"))
        _require_system_user()
        setpriv += [f"--reuid={SYSTEM_USER}", f"--regid={SYSTEM_USER}", "--clear-groups"]
        args = (*shown_at(self.directory, self.visible), *setpriv, "--", binary, *arguments)
        return Command(args, child_environment(HOME="/"), Path("/"))

    def _initialise(self, target: Path) -> None:
        visible = f"{self.visible}/{target.name}"
        password_file = self.directory / "superuser-password"
        write_private(password_file, self._superuser_password.encode())
        self._give(password_file)
        try:
            self._run(
                *("initdb", "-D", visible, "-U", SUPERUSER, "-E", "UTF8", "--locale=C.UTF-8"),
                *("--auth-local=reject", "--auth-host=scram-sha-256", "--data-checksums"),
                f"--pwfile={self.visible}/{password_file.name}",
            )
        finally:
            password_file.unlink()
        with (target / "postgresql.conf").open("a") as file:
            file.write("\ninclude_if_exists = 'openhtc.conf'\n")
        statements = (
            f"CREATE ROLE {ROLE} LOGIN CREATEDB PASSWORD '{self._password}'\n"
            f"CREATE DATABASE {DATABASE} OWNER {ROLE}\n"
        )
        self._run(
            "postgres", "--single", "-j", "-D", visible, "postgres", stdin=statements.replace("\n", ";\n\n")
        )

    def _run(self, *arguments: str, stdin: str = "") -> None:
        command = self._command(*arguments)
        done = subprocess.run(
            command.args,
            env=command.env,
            cwd=command.cwd,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0 or "FATAL" in done.stderr or "ERROR" in done.stderr:
            said = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()
            raise SettingsError(f"cannot create the PostgreSQL cluster in {self.directory}: {said[-1]}")

    def _give(self, path: Path) -> None:
        if os.geteuid() == 0:
            shutil.chown(path, SYSTEM_USER, SYSTEM_USER)


def new_postgres(directory: Path, tuning: Mapping[str, str] | None = None) -> PostgresPart:
    """A cluster that is not part of an installation, on a free port, its log beside its directory.

    ``part = new_postgres(directory)``, then ``async with running(directory, part):`` and connect to ``part.url``.
    Another process can use a running cluster by ``url`` or ``superuser_url``.
    """
    return PostgresPart(
        directory / "postgres",
        choose(set()),
        superuser_password=secrets.token_hex(16),
        password=secrets.token_hex(16),
        log=directory / "postgres.log",
        tuning=tuning,
    )


def _require_system_user() -> None:
    try:
        pwd.getpwnam(SYSTEM_USER)
    except KeyError as error:
        raise SettingsError(
            f"the user {SYSTEM_USER} to run PostgreSQL is missing: install the Debian package postgresql"
        ) from error
