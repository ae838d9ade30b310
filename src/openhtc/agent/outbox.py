"""What waits to be told to the server, in order, safe on disk."""

import threading
from collections import deque
from itertools import islice

import structlog

from openhtc.agent.journal import Entry, Journal
from openhtc.domain.work import JobReport

MAX_WAITING = 100_000
"""From here on log lines are not shipped until the server took some: about 30 MB of memory."""

logger = structlog.get_logger(__name__)


class Outbox:
    """A queue of news with a journal behind it, and starts, which are worth no journal.

    Starts may be lost with the process: the end of the attempt carries the start's time too.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._changed = threading.Condition()
        self._entries: deque[Entry] = deque(journal.replay())
        self._starts: dict[int, JobReport] = {}
        self.replayed = len(self._entries)

    def __len__(self) -> int:
        return len(self._entries) + len(self._starts)

    @property
    def is_full(self) -> bool:
        return len(self._entries) >= MAX_WAITING

    def started(self, start: JobReport) -> None:
        with self._changed:
            self._starts[start.lease] = start
            self._changed.notify()

    def put(self, entries: list[Entry]) -> None:
        """Journal and queue the entries; when this returns they survive a kill of the process.

        A disk that cannot take them does not stop the report: they are only kept in memory then.
        """
        with self._changed:
            for entry in entries:
                if entry.end is not None:
                    self._starts.pop(entry.lease, None)
            try:
                self._journal.append(entries)
            except OSError as error:
                logger.error("journal_write_failed", error=str(error), entries=len(entries))
            self._entries.extend(entries)
            self._changed.notify()

    def put_end(self, end: JobReport) -> None:
        self.put([Entry(end=end)])

    def peek(self, limit: int) -> tuple[list[Entry], list[JobReport]]:
        """The oldest news, at most ``limit`` pieces: journalled ones first."""
        with self._changed:
            self._sync()
            entries = list(islice(self._entries, limit))
            return entries, list(islice(self._starts.values(), limit - len(entries)))

    def acknowledge(self, entries: int, starts: list[JobReport]) -> None:
        """The server has the oldest ``entries`` entries and these starts."""
        with self._changed:
            for _ in range(entries):
                self._entries.popleft()
            self._journal.acknowledge(entries)
            for start in starts:
                if self._starts.get(start.lease) is start:
                    del self._starts[start.lease]

    def forget_start(self, lease: int) -> None:
        with self._changed:
            self._starts.pop(lease, None)

    def wait(self, seconds: float, pieces: int = 1) -> None:
        """Sleep until there are ``pieces`` of news, at most ``seconds``."""
        with self._changed:
            self._changed.wait_for(lambda: len(self) >= pieces, seconds)

    def close(self) -> None:
        with self._changed:
            self._sync()
            self._journal.close()

    def _sync(self) -> None:
        try:
            self._journal.sync()
        except OSError as error:
            logger.error("journal_sync_failed", error=str(error))
