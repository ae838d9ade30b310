"""The output of running jobs: lines that wait to be shipped, and one thread that reads the pipes they come through.

What is held in memory is bounded: output whose lines were not shipped yet is not read, so the program blocks
when it writes, as it would at a slow terminal.
"""

import os
import select
import threading
import time
from collections.abc import Callable
from functools import partial

import structlog

from openhtc.agent.lines import MAX_BYTES, LineStamper, cost
from openhtc.domain.logs import Stretch

READ_BYTES = 64 * 1024
DISCARD_BYTES = 1024 * 1024
POLL_SECONDS = 0.5

logger = structlog.get_logger(__name__)


class JobOutput:
    """The output of one attempt: lines read and not yet taken."""

    def __init__(
        self,
        lease: int,
        batch: int,
        index: int,
        floor_ns: int,
        *,
        max_bytes: int = MAX_BYTES,
        on_taken: Callable[[], None] | None = None,
    ) -> None:
        """``max_bytes`` of output are kept. ``on_taken``: called when lines were shipped and there is room."""
        self.lease, self.batch, self.index = lease, batch, index
        self.complete = False
        """No line comes any more."""
        self.on_taken = on_taken
        self._stamper = LineStamper(floor_ns, max_bytes)
        self._lines: list[Stretch] = []
        self._cost = 0
        self.silent = True
        """No line was ever kept."""
        self._lock = threading.Lock()

    @property
    def cost(self) -> int:
        """Bytes of memory that the untaken lines hold, about."""
        return self._cost

    @property
    def full(self) -> bool:
        return self._stamper.full

    def take(self) -> list[Stretch]:
        """The lines since the last take, oldest first."""
        with self._lock:
            lines, self._lines, self._cost = self._lines, [], 0
        return lines

    def taken(self) -> None:
        """The lines that were taken are shipped."""
        if self.on_taken is not None:
            self.on_taken()

    def feed(self, data: bytes) -> None:
        self._keep(self._stamper.feed(data, time.time_ns()))

    def drop(self, count: int) -> None:
        self._stamper.drop(count)

    def finish(self) -> None:
        """The output is at its end."""
        if not self.complete:
            self._keep(self._stamper.finish(time.time_ns()))
            self.complete = True

    def _keep(self, lines: list[Stretch]) -> None:
        with self._lock:
            self._lines += lines
            self._cost += cost(lines)
            self.silent = self.silent and not lines


class PipeOutput(JobOutput):
    """Output that comes through a pipe, whose writing end the container gets."""

    def __init__(
        self, lease: int, batch: int, index: int, floor_ns: int, *, max_bytes: int = MAX_BYTES
    ) -> None:
        super().__init__(lease, batch, index, floor_ns, max_bytes=max_bytes)
        self.reader, self.writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.reader, False)
        self.ended = threading.Event()
        """The pipe is at its end, or is given up; no line comes any more."""

    def close_writer(self) -> None:
        """To be called when the container has the writing end: only then its end is the end of the output."""
        if self.writer >= 0:
            os.close(self.writer)
            self.writer = -1

    def finish(self) -> None:
        super().finish()
        self.ended.set()


class OutputReader:
    """One thread, one epoll, all pipes.

    on_lines is called from that thread after a job's lines were added; it must not block. Its second
    argument says that the job is not read any more until its lines are taken.
    """

    def __init__(self, max_cost: int, on_lines: Callable[[JobOutput, bool], None]) -> None:
        self._max_cost = max_cost
        self._on_lines = on_lines
        self._epoll = select.epoll()
        self._lock = threading.Lock()
        self._outputs: dict[int, PipeOutput] = {}
        self._paused: set[int] = set()
        self._urgent: set[int] = set()
        self._given_up: list[PipeOutput] = []
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._epoll.register(self._wake, select.EPOLLIN)
        self._null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="output", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Stop reading. Outputs that are still open are finished."""
        self._closed = True
        os.eventfd_write(self._wake, 1)
        self._thread.join()
        for output in list(self._outputs.values()):
            self._end(output)
        self._epoll.close()
        os.close(self._null)
        os.close(self._wake)

    def add(self, output: PipeOutput) -> None:
        output.on_taken = partial(self.taken, output)
        with self._lock:
            self._outputs[output.reader] = output
        self._epoll.register(output.reader, select.EPOLLIN)

    def taken(self, output: PipeOutput) -> None:
        """Lines of the output were shipped: read on if it waits for that."""
        with self._lock:
            if output.reader in self._paused and self._outputs.get(output.reader) is output:
                self._paused.discard(output.reader)
                self._epoll.register(output.reader, select.EPOLLIN)

    def drain(self, output: PipeOutput, timeout: float) -> None:
        """Every writer has ended: read what the pipe still holds, however much waits for shipping.

        After ``timeout`` seconds the output is taken as complete as it is.
        """
        with self._lock:
            if self._outputs.get(output.reader) is output:
                self._urgent.add(output.reader)
        self.taken(output)
        if not output.ended.wait(timeout):
            logger.warning("output_not_ended", lease=output.lease, timeout=timeout)
            with self._lock:
                self._given_up.append(output)
            os.eventfd_write(self._wake, 1)
            output.ended.wait(timeout)

    def _run(self) -> None:
        """The only thread that reads and closes pipes: none is closed while it is being read."""
        while not self._closed:
            for descriptor, _ in self._epoll.poll(POLL_SECONDS, 64):
                with self._lock:
                    output = self._outputs.get(descriptor)
                if output is not None:
                    self._read(output)
                elif descriptor == self._wake:
                    self._end_given_up()

    def _end_given_up(self) -> None:
        os.eventfd_read(self._wake)
        with self._lock:
            given_up, self._given_up = self._given_up, []
        for output in given_up:
            self._end(output)

    def _read(self, output: PipeOutput) -> None:
        try:
            if output.full:
                data, count = b"", os.splice(output.reader, self._null, DISCARD_BYTES)
                output.drop(count)
            else:
                data = os.read(output.reader, READ_BYTES)
                count = len(data)
                output.feed(data)
        except BlockingIOError:
            return
        if count == 0:
            self._end(output)
        elif data:
            self._on_lines(output, self._pause_if_much(output))

    def _pause_if_much(self, output: PipeOutput) -> bool:
        with self._lock:
            much = output.cost > self._max_cost and output.reader not in self._urgent
            if much:
                self._paused.add(output.reader)
                self._epoll.unregister(output.reader)
        return much

    def _end(self, output: PipeOutput) -> None:
        with self._lock:
            if self._outputs.pop(output.reader, None) is None:
                return
            if output.reader not in self._paused:
                self._epoll.unregister(output.reader)
            self._paused.discard(output.reader)
            self._urgent.discard(output.reader)
            os.close(output.reader)
        output.finish()
        self._on_lines(output, False)
