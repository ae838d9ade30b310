"""The installation that suffers: `openhtc up` on a small disk, a second server and two agents behind proxies."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import gethostname

import asyncpg
import httpx
from bench.soak.place import CannotBuild, compiled

from faults.clock import LIBRARIES, Clock, clean, give, own_mounts
from faults.ledger import Ledger
from faults.program import Program
from faults.proxy import Proxy
from openhtc.bench.figures import Say
from openhtc.client import HtcClient
from openhtc.client.images.layer import Layer
from openhtc.client.images.layout import ImageConfig, write_layout
from openhtc.client.images.push import push
from openhtc.embedded.layout import DataLayout
from openhtc.embedded.ports import LOOPBACK, choose
from openhtc.embedded.programs import find_postgres
from openhtc.embedded.settings_files import toml

LEASE_SECONDS = 6
VCPUS = 4
"""Of each of the three agents."""
IMAGE = "worker:1"
LIMIT_VCPUS = 3
DATABASE = "database"
AGENTS = ("agent-1", "agent-2")
"""Ours, beside that of `openhtc up`, which has the machine's name."""
_COMMAND_SECONDS = 240
_READY_SECONDS = 60.0
_PREFIX = "openhtc-faults-"


class NotPossible(Exception):
    """The place cannot be made here, or a command of it failed, with what it said."""


@dataclass(frozen=True, slots=True)
class Place:
    folder: Path
    layout: DataLayout
    client: HtcClient
    ledger: Ledger
    server: Program
    agents: list[Program]
    to_server: Proxy
    """Between the two agents and the second server."""
    to_database: Proxy
    """Between the second server and PostgreSQL."""
    ports: dict[str, int]
    database_url: str
    clocks: dict[str, Clock]
    """Of the database, of the second server and of one agent."""
    project_id: str
    limited_id: str
    """A project that may use LIMIT_VCPUS at a time."""

    def absent(self) -> list[str]:
        """Which of our programs do not serve, also after a while."""
        until = time.monotonic() + _READY_SECONDS
        while (found := self._absent()) and time.monotonic() < until:
            time.sleep(0.5)
        return found

    def _absent(self) -> list[str]:
        try:
            live = asyncio.run(_live_agents(self.database_url))
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return [DATABASE]
        missing = [name for name in self.agent_names if name not in live]
        return missing if _is_healthy(self.ports["server"]) else [self.server.name, *missing]

    @property
    def agent_names(self) -> tuple[str, ...]:
        return (*AGENTS, gethostname())

    @property
    def agent_disk(self) -> Path:
        """The small disk of the first of our agents."""
        return self.folder / "agent-1"


def command(layout: DataLayout, *arguments: str, env: dict[str, str] | None = None) -> str:
    """The standard output of `openhtc ARGUMENTS`. Raises NotPossible."""
    done = subprocess.run(
        [sys.executable, "-m", "openhtc.cli.main", *arguments, "--data", str(layout.root)],
        capture_output=True,
        text=True,
        check=False,
        timeout=_COMMAND_SECONDS,
        env={**os.environ, **(env or {})},
    )
    if done.returncode != 0:
        raise NotPossible(f"openhtc {' '.join(arguments)}: {done.stdout}{done.stderr}")
    return done.stdout


def up(layout: DataLayout, port: int, forward: list[int]) -> None:
    """Start the installation, or start it again."""
    env = {
        "OPENHTC_LEASE_SECONDS": str(LEASE_SECONDS),
        "OPENHTC_FORWARD": ",".join(f"{LOOPBACK}:{each}" for each in forward),
        "OPENHTC_DISK_GIB": "40",
    }
    arguments = ("up", "--port", str(port), "--vcpus", str(VCPUS), "--memory-mib", "2048", "--detach")
    command(layout, *arguments, env=env)


@contextmanager
def made(ledger_file: Path, say: Say, former: Path | None = None) -> Iterator[Place]:
    """Everything is removed afterwards, also after a failure. Raises NotPossible.

    ``former``: the Python of another release. With it the second server and an agent are of both by turns.
    """
    pythons = [] if former is None else [former, Path(sys.executable)]
    if os.geteuid() != 0:
        raise NotPossible("this needs root: it mounts small disks")
    if not LIBRARIES:
        raise NotPossible("clocks cannot be moved: install the Debian package libfaketime")
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    folder.chmod(0o711)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        clean()
        stack.callback(clean)
        try:
            own_mounts()
        except OSError as error:
            raise NotPossible(f"mounts of its own cannot be had: {error}") from error
        for name, size in (("data", "5g"), ("agent-1", "3g"), ("agent-2", "3g")):
            _mount(folder / name, size, stack)
        clocks = {name: Clock(folder / f"{name}.clock") for name in (DATABASE, "second server", "agent 2")}
        give(find_postgres() / "postgres", clocks[DATABASE], folder / "programs")
        ledger = stack.enter_context(Ledger(ledger_file))
        layout, taken = DataLayout(folder / "data"), set[int]()
        ports = {name: choose(taken) for name in ("api", "server", "to server", "to database")}
        say("starting the service")
        up(layout, ports["api"], [ledger.port])
        stack.callback(_down, layout)
        settings = tomllib.loads(layout.server_settings.read_text())
        ports |= {"s3": _port(settings["s3_endpoint"]), "database": _port(settings["database_url"])}
        command(layout, "down")
        up(layout, ports["api"], reachable(ports, ledger))
        to_database = Proxy(ports["to database"], ports["database"])
        stack.callback(to_database.close)
        to_server = Proxy(ports["to server"], ports["server"])
        stack.callback(to_server.close)
        server = Program(
            "second server",
            _second_server(folder, settings, ports),
            folder / "second-server.log",
            {"OPENHTC_LEASE_SECONDS": str(LEASE_SECONDS), **clocks["second server"].env},
            pythons,
        )
        stack.callback(server.close)
        agents = []
        for number in (1, 2):
            words = _agent(layout, folder, number, ports, ledger)
            env = clocks["agent 2"].env if number == 2 else {}
            log = folder / f"agent-{number}.log"
            agents.append(Program(f"agent {number}", words, log, env, pythons if number == 1 else ()))
            stack.callback(agents[-1].close)
        client = HtcClient.from_credentials(layout.credentials)
        stack.callback(client.close)
        say("building the worker and pushing its image")
        projects = [_project(client, folder, name) for name in ("faults", "limited")]
        _limit(client, projects[1])
        place = Place(
            folder,
            layout,
            client,
            ledger,
            server,
            agents,
            to_server,
            to_database,
            ports,
            str(settings["database_url"]),
            clocks,
            projects[0],
            projects[1],
        )
        if absent := place.absent():
            raise NotPossible(f"these do not serve: {', '.join(absent)}")
        yield place


async def _live_agents(url: str) -> set[str]:
    """Those that were heard within the length of a lease."""
    connection = await asyncpg.connect(url, timeout=5)
    try:
        rows = await connection.fetch(
            "SELECT name FROM agents WHERE ended_at IS NULL AND expires_at > clock_timestamp() AND NOT stopping"
        )
    finally:
        await connection.close()
    return {row["name"] for row in rows}


def _is_healthy(port: int) -> bool:
    try:
        return httpx.get(f"http://{LOOPBACK}:{port}/healthz", trust_env=False, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def reachable(ports: dict[str, int], ledger: Ledger) -> list[int]:
    """What jobs may reach on this machine."""
    return [ports["api"], ports["s3"], ledger.port]


def _mount(path: Path, size: str, stack: ExitStack) -> None:
    path.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=711", "tmpfs", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise NotPossible(f"a small disk cannot be mounted: {done.stderr.strip()}")
    stack.callback(subprocess.run, ["umount", "-l", str(path)], check=False)


def _down(layout: DataLayout) -> None:
    try:
        command(layout, "down", "--timeout", "60")
    except NotPossible:
        return  # it was not running when the run was interrupted


def _port(url: str) -> int:
    return int(url.split("?", maxsplit=1)[0].rpartition(":")[2].split("/")[0])


def _second_server(folder: Path, settings: dict[str, object], ports: dict[str, int]) -> list[str]:
    """The same installation, another port, and its database through the proxy."""
    url = str(settings["database_url"]).replace(f":{ports['database']}", f":{ports['to database']}")
    values = {**settings, "serves": "all", "listen_port": ports["server"], "database_url": url}
    file = folder / "server.toml"
    file.write_bytes(toml(values))  # type: ignore[arg-type]
    file.chmod(0o600)
    return ["server", "--settings", str(file)]


def _agent(layout: DataLayout, folder: Path, number: int, ports: dict[str, int], ledger: Ledger) -> list[str]:
    key = json.loads(command(layout, "admin", "keys", "create", "--kind", "agent"))["key"]
    values = {
        "server_url": f"http://{LOOPBACK}:{ports['to server']}",
        "key": key,
        "name": AGENTS[number - 1],
        "data_dir": str(folder / f"agent-{number}" / "data"),
        "status_file": str(folder / f"agent-{number}.json"),
        "vcpus": VCPUS,
        "memory_mib": 2048,
        "disk_gib": 40,
        "stop_grace_seconds": 1,
        "forward": [f"{LOOPBACK}:{port}" for port in reachable(ports, ledger)],
    }
    file = folder / f"agent-{number}.toml"
    file.write_bytes(toml(values))
    file.chmod(0o600)
    return ["agent", "--settings", str(file)]


def _project(client: HtcClient, folder: Path, name: str) -> str:
    project = client.create_project(name)
    layer = Layer()
    for directory in ("bin", "dev", "etc", "proc", "sys", "tmp"):
        layer.add_folder(directory)
    layer.add_file("bin/worker", _worker(folder), 0o755)
    image = write_layout(folder / f"image-{name}", "1", layer.pack(), ImageConfig(command=("/bin/worker",)))
    push(image, project.container_registry, IMAGE, client.registry_token(project.project_id))
    return project.project_id


def _worker(folder: Path) -> bytes:
    try:
        return compiled(Path(__file__).with_name("worker.c"), folder / "worker")
    except CannotBuild as error:
        raise NotPossible(f"the worker cannot be built: {error}") from error


def _limit(client: HtcClient, project_id: str) -> None:
    answer = httpx.post(
        f"{client.base_url}/htc/projects/{project_id}/limits",
        json={"vCPUs": LIMIT_VCPUS, "modifierRole": "PROJECT_ADMIN"},
        headers={"Authorization": f"Bearer {client.bearer_token()}"},
        trust_env=False,
    )
    if answer.status_code != 201:
        raise NotPossible(f"the limit cannot be set: {answer.text}")
