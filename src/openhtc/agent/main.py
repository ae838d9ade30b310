"""The agent as a program: settings in, exit code out."""

import stat
import threading
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import random

import msgspec
import structlog

import openhtc
from openhtc.agent import notice
from openhtc.agent.account import Parts
from openhtc.agent.agent import Agent
from openhtc.agent.attempt import Tools
from openhtc.agent.capacity import (
    disk_warning,
    has_hyperthreading,
    machine_type,
    node_architecture,
    node_capacity,
)
from openhtc.agent.forwards import forwards
from openhtc.agent.images.store import ImageStore
from openhtc.agent.journal import Journal
from openhtc.agent.local_queue import LocalQueue
from openhtc.agent.native.runner import NativeSlots
from openhtc.agent.native.slot import Common
from openhtc.agent.outbox import Outbox
from openhtc.agent.output import OutputReader
from openhtc.agent.runtimes.choice import choose
from openhtc.agent.sandbox.forwarder import Forward
from openhtc.agent.sandbox.mode import Mode, enter
from openhtc.agent.sandbox.sandbox import Sandbox
from openhtc.agent.sandbox.slot import SandboxError
from openhtc.agent.session import Session
from openhtc.agent.slots import AnySlots, Slots
from openhtc.agent.wire import RequestInvalid, ServerAway, ServerRefuses, Wire
from openhtc.domain.errors import SettingsError
from openhtc.domain.work import AgentHello, Capacity
from openhtc.lifecycle.locks import FileLock
from openhtc.lifecycle.stopping import EXIT_DRAINED, Stop, stop_on_signals
from openhtc.settings.agent import AgentSettings
from openhtc.telemetry import configure

EXIT_OK = 0
EXIT_CANNOT_RUN = 1
MAX_PAUSE = 5.0
DIRECTORY_MODE = 0o711
"""Unprivileged users in jobs reach their image through data_dir without seeing what else is in it."""
_GIB = 1024**3

logger = structlog.get_logger(__name__)


def run(settings: AgentSettings) -> int:
    """Be an agent until SIGTERM, SIGINT or the end of the node's life; the process's exit code.

    Called in the main thread before any other thread exists: it executes the same command again in
    namespaces of its own.
    """
    configure(settings.log_level, settings.log_json)
    try:
        mode = enter()
        return _run(settings, mode)
    except (SettingsError, SandboxError, ServerRefuses, RequestInvalid, OSError) as error:
        logger.error("agent_cannot_run", error=str(error))
        return EXIT_CANNOT_RUN


@dataclass(frozen=True, slots=True)
class _Node:
    settings: AgentSettings
    mode: Mode
    capacity: Capacity


def _run(settings: AgentSettings, mode: Mode) -> int:
    _make_directory(settings.data_dir)
    if mode.privileged:
        _check_traversable(settings.data_dir)
    if settings.status_file is not None:
        settings.status_file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(settings.lock_file)
    stop = Stop()
    crashes = stop_on_crash(stop)
    with stop_on_signals(stop), lock:  # whoever is told of us by the lock may send signals
        if not lock.acquire():
            raise SettingsError(
                f"data_dir {settings.data_dir} is in use by another agent: expected one of its own"
            )
        code = _run_alone(_Node(settings, mode, node_capacity(settings)), stop)
    if crashes:
        return EXIT_CANNOT_RUN
    return EXIT_DRAINED if stop.drained and code == EXIT_OK else code


def stop_on_crash(stop: Stop) -> list[str]:
    """A thread that ends by an error which nothing foresaw takes the agent with it, in good order.

    Returns the names of the threads that crashed; the list grows.
    """
    crashes: list[str] = []

    def hook(crash: threading.ExceptHookArgs) -> None:
        name = crash.thread.name if crash.thread is not None else "unknown"
        error = crash.exc_value
        logger.error("thread_crashed", thread=name, error=repr(error), exc_info=error)
        crashes.append(name)
        stop.request()

    threading.excepthook = hook
    return crashes


def _run_alone(node: _Node, stop: Stop) -> int:
    settings = node.settings
    outbox = Outbox(Journal(settings.data_dir / "journal"))
    wire = Wire(settings.server_url, f"openhtc-agent/{openhtc.__version__}")
    reachable: list[Forward] = []
    sandbox = Sandbox(node.mode, settings.data_dir, forwards=reachable, outside=settings.network == "outside")
    if warning := disk_warning(settings, node.capacity):
        sandbox.missing.append(warning)
    try:
        memory = settings.data_dir / "session"
        session = Session(wire, _hello(node, sandbox.missing), settings.agent_key(), memory)
        if _opened(session, stop):
            # The session's answer names both; slots read this list when they open their network.
            opened = session.current
            reachable += forwards(settings, opened.api_url or settings.server_url, opened.logs.endpoint)
            _work(node, session, sandbox, outbox, stop)
    finally:
        sandbox.close()
        outbox.close()
        wire.close()
    return EXIT_OK


def _work(node: _Node, session: Session, sandbox: Sandbox, outbox: Outbox, stop: Stop) -> None:
    settings, mode = node.settings, node.mode
    images = ImageStore(settings.data_dir / "images", settings.image_cache_gib * _GIB, mode.ids)
    logger.info(
        "agent_begins",
        agent=session.current.agent,
        name=settings.node_name,
        mode=mode.kind,
        capacity=msgspec.structs.asdict(node.capacity),
        limits_missing=sandbox.missing,
        replayed=outbox.replayed,
    )
    if settings.spot_notice is not None:
        notice.watch(settings.spot_notice, settings.metadata_url, stop)
    agent = Agent(
        settings=settings,
        capacity=node.capacity,
        session=session,
        sandbox=sandbox,
        images=images,
        slots=partial(_slots, node, sandbox),
        outbox=outbox,
        stop=stop,
    )
    agent.run()


def _slots(node: _Node, sandbox: Sandbox, queue: LocalQueue, parts: Parts, max_cost: int) -> AnySlots:
    settings, limit = node.settings, node.capacity.vcpus
    if settings.runtime == "native":
        images = settings.data_dir / "images"
        common = Common.make(node.mode, sandbox.shared, images, sandbox.slots_dir / "etc")
        return NativeSlots(common, sandbox.slots_dir, queue, parts, limit=limit, max_cost=max_cost)
    runtime = choose(settings.runtime, node.mode, settings.data_dir)
    tools = Tools(runtime, OutputReader(max_cost, parts.shipper.notice))
    return Slots(sandbox, queue, parts, tools, limit)


def _opened(session: Session, stop: Stop) -> bool:
    """Open the session, however long the server is away; False when a stop came first."""
    pause = 0.2
    while not stop.requested:
        try:
            session.open()
        except ServerAway as error:
            logger.warning("server_away", error=str(error))
            stop.wait(pause * (0.5 + random()))  # noqa: S311 - jitter
            pause = min(MAX_PAUSE, pause * 2)
        else:
            return True
    return False


def _hello(node: _Node, missing: list[str]) -> AgentHello:
    settings = node.settings
    return AgentHello(
        name=settings.node_name,
        regions=[region.value for region in settings.regions],
        capacity=node.capacity,
        architecture=node_architecture(settings).value,
        runtime=settings.runtime,
        version=openhtc.__version__,
        provider=settings.provider,
        machine_type=machine_type(settings, node.capacity),
        hyperthreading=has_hyperthreading(),
        limits_missing=missing,
    )


def _check_traversable(path: Path) -> None:
    """The ids that stand behind a job's must get to its image. Raises SettingsError."""
    for directory in (path, *path.resolve().parents):
        if not directory.stat().st_mode & stat.S_IXOTH:
            raise SettingsError(
                f"data_dir is {path}, but {directory} is closed to other users, so jobs cannot reach their "
                f"images: choose another data_dir or run chmod o+x {directory}"
            )


def _make_directory(path: Path) -> None:
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(DIRECTORY_MODE)
