"""Packs the lines of many jobs into one object, writes it, and only then tells how jobs ended."""

import threading
import time
from dataclasses import dataclass, field
from random import random

import structlog

from openhtc.agent.counts import Counts
from openhtc.agent.journal import Entry
from openhtc.agent.lines import runs
from openhtc.agent.log_store import LogStore, StoreAway
from openhtc.agent.outbox import Outbox
from openhtc.agent.output import JobOutput
from openhtc.domain.logs import Stretch, pack_lines
from openhtc.domain.work import JobReport, LogChunk

SHIP_SECONDS = 0.5
"""A line waits at most about this long."""
END_SECONDS = 0.08
"""The end of a job waits so long for others that can share its object."""
SHIP_COST = 1024 * 1024
"""So many bytes of lines in memory do not wait at all."""
OBJECT_COST = 16 * 1024 * 1024
"""Not much more than this goes into one object."""
BACKLOG_COST = 64 * 1024 * 1024
"""When ended jobs hold more than this, no further job begins."""
MAX_PAUSE = 5.0

logger = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Load:
    """What goes into one object."""

    lines: list[tuple[JobOutput, list[Stretch]]] = field(default_factory=list)
    ends: list[JobReport] = field(default_factory=list)
    ended_cost: int = 0


class Shipper:
    """One thread. The order of news about one job is kept: its lines, then its end."""

    def __init__(self, store: LogStore, outbox: Outbox, counts: Counts) -> None:
        self._store, self._outbox, self._counts = store, outbox, counts
        self._changed = threading.Condition()
        self._fresh: dict[JobOutput, None] = {}
        self._ends: dict[JobOutput, JobReport] = {}
        self._ended_cost = 0
        self._due: float | None = None
        self._give_up_at: float | None = None
        self._thread = threading.Thread(target=self._run, name="shipper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def end_within(self, seconds: float) -> None:
        """Ship what there is, for at most ``seconds``; then ends are told without the rest of their lines."""
        with self._changed:
            self._give_up_at = time.monotonic() + seconds
            self._changed.notify_all()

    def join(self, seconds: float) -> bool:
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def notice(self, output: JobOutput, blocked: bool) -> None:
        """The output has lines that wait, perhaps so many that its job is blocked. Returns at once."""
        with self._changed:
            self._fresh[output] = None
            self._set_due(0.0 if blocked or output.cost >= SHIP_COST else SHIP_SECONDS)

    @property
    def is_full(self) -> bool:
        """So much is waiting to be written that no further job should begin."""
        return self._ended_cost > BACKLOG_COST

    def wait_room(self) -> None:
        """Block while too much is waiting to be written."""
        with self._changed:
            while self.is_full and self._give_up_at is None:
                self._changed.wait()

    def finish(self, output: JobOutput, end: JobReport) -> None:
        """The job has ended and its output too. Returns at once."""
        if output.silent:
            self._outbox.put_end(end)
            return
        with self._changed:
            self._ends[output] = end
            self._ended_cost += output.cost
            self._set_due(END_SECONDS)

    def _set_due(self, seconds: float) -> None:
        due = time.monotonic() + seconds
        if self._due is None or due < self._due:
            self._due = due
            self._changed.notify_all()

    def _run(self) -> None:
        while self._wait_due():
            load = self._take()
            if load.lines or load.ends:
                self._ship(load)

    def _wait_due(self) -> bool:
        """Sleep until something is to be shipped; False when closed and empty."""
        with self._changed:
            while self._give_up_at is None:
                left = None if self._due is None else self._due - time.monotonic()
                if left is not None and left <= 0:
                    break
                self._changed.wait(left)
            self._due = None
            return bool(self._fresh or self._ends or self._give_up_at is None)

    def _take(self) -> _Load:
        """Lines of as many jobs as one object holds, the longest waiting first; the rest stays due."""
        load, cost = _Load(), 0
        with self._changed:
            for output in [*self._fresh, *(o for o in self._ends if o not in self._fresh)]:
                if cost > OBJECT_COST:
                    self._set_due(0.0)
                    break
                cost += output.cost
                self._take_one(output, load)
        return load

    def _take_one(self, output: JobOutput, load: _Load) -> None:
        self._fresh.pop(output, None)
        end = self._ends.pop(output, None)
        if end is not None:
            load.ends.append(end)
            load.ended_cost += output.cost
        if lines := output.take():
            load.lines.append((output, lines))

    def _ship(self, load: _Load) -> None:
        chunks = self._write(load.lines) if load.lines else []
        self._outbox.put([*(Entry(chunk=chunk) for chunk in chunks), *(Entry(end=end) for end in load.ends)])
        for output, _ in load.lines:
            output.taken()
        with self._changed:
            self._ended_cost -= load.ended_cost
            self._changed.notify_all()

    def _write(self, lines: list[tuple[JobOutput, list[Stretch]]]) -> list[LogChunk]:
        each = [(output, run) for output, stretches in lines for run in runs(stretches)]
        packed = [pack_lines(run) for _, run in each]
        key = self._put(b"".join(packed))
        if key is None:
            lost = sum(stretch.lines for _, run in each for stretch in run)
            logger.error("log_lines_lost", jobs=len(lines), lines=lost)
            return []
        chunks, offset = [], 0
        for (output, run), data in zip(each, packed, strict=True):
            chunks.append(_chunk(output, run, key, offset, len(data)))
            offset += len(data)
        self._counts.shipped(sum(chunk.lines for chunk in chunks), offset)
        return chunks

    def _put(self, data: bytes) -> str | None:
        """Write until it works; None when there is no time left for that."""
        pause = 0.1
        while self._outbox.is_full and not self._pause(pause):
            pass
        while True:
            try:
                return self._store.put(data)
            except StoreAway as error:
                logger.warning("log_store_away", error=str(error), size=len(data))
            if self._pause(pause * (0.5 + random())):  # noqa: S311 - jitter
                return None
            pause = min(MAX_PAUSE, pause * 2)

    def _pause(self, seconds: float) -> bool:
        """Sleep; True when closing and out of time."""
        with self._changed:
            self._changed.wait_for(lambda: self._give_up_at is not None, seconds)
            if self._give_up_at is None:
                return False
            self._changed.wait(min(seconds, max(0.0, self._give_up_at - time.monotonic())))
            return time.monotonic() >= self._give_up_at


def _chunk(output: JobOutput, run: list[Stretch], key: str, offset: int, length: int) -> LogChunk:
    return LogChunk(
        lease=output.lease,
        batch=output.batch,
        index=output.index,
        key=key,
        offset=offset,
        length=length,
        lines=sum(stretch.lines for stretch in run),
        first_ns=run[0].first_ns,
        last_ns=run[-1].last_ns,
    )
