"""Once a second: the status file, the summary in the log, jobs that waited here too long."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import structlog

from openhtc.agent.counts import Counts
from openhtc.agent.held import HeldJob, HeldJobs
from openhtc.agent.local_queue import LocalQueue
from openhtc.agent.outbox import Outbox
from openhtc.domain.work import Capacity

TICK_SECONDS = 1.0
SUMMARY_SECONDS = 10.0
STALE_SECONDS = 5.0
"""A job that could not begin here for so long is given to others."""

logger = structlog.get_logger(__name__)


class AgentStatus(msgspec.Struct, frozen=True):
    """The content of the status file."""

    pid: int
    agent: int
    name: str
    server_url: str
    written_at: int
    """Microseconds since the epoch: a file that is older than some seconds tells of a dead agent."""
    stopping: bool
    capacity: Capacity
    used: Capacity
    running: int
    waiting: int
    unreported: int
    """Pieces of news that the server has not acknowledged."""
    limits_missing: list[str]
    counts: dict[str, int]


class Monitor:
    """One thread."""

    def __init__(
        self,
        queue: LocalQueue,
        held: HeldJobs,
        outbox: Outbox,
        counts: Counts,
        *,
        status: Callable[[], AgentStatus],
        status_file: Path | None,
        hand_back: Callable[[list[HeldJob]], None],
    ) -> None:
        self._queue, self._held, self._outbox, self._counts = queue, held, outbox, counts
        self._status, self._status_file, self._hand_back = status, status_file, hand_back
        self._done = threading.Event()
        self._summary_at = time.monotonic() + SUMMARY_SECONDS
        self._last: dict[str, int] = {}
        self._thread = threading.Thread(target=self._run, name="monitor", daemon=True)

    def start(self) -> None:
        self._write_status()
        self._thread.start()

    def close(self) -> None:
        self._done.set()
        self._thread.join()
        self._log_summary("agent_summary")
        if self._status_file is not None:
            self._status_file.unlink(missing_ok=True)

    def _run(self) -> None:
        while not self._done.wait(TICK_SECONDS):
            self._write_status()
            self._hand_back(self._queue.remove_older_than(STALE_SECONDS))
            if time.monotonic() >= self._summary_at:
                self._summary_at = time.monotonic() + SUMMARY_SECONDS
                self._log_summary("agent_running")

    def _write_status(self) -> None:
        if self._status_file is None:
            return
        temporary = self._status_file.with_name(f".{self._status_file.name}.{os.getpid()}")
        try:
            temporary.write_bytes(msgspec.json.format(msgspec.json.encode(self._status())))
            temporary.replace(self._status_file)
        except OSError as error:
            logger.warning("status_not_written", path=str(self._status_file), error=str(error))

    def _log_summary(self, event: str) -> None:
        """Nothing is logged while nothing happens."""
        summary = self._counts.summary()
        if summary != self._last or len(self._held):
            self._last = summary
            logger.info(event, held=len(self._held), unreported=len(self._outbox), **summary)
