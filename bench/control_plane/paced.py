"""An agent that runs a steady number of jobs a second, each for a second, in a thread of its own."""

import threading
import time
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from bench.control_plane.load_agent import LeasedJob, LoadAgent, end_of, now_micros, start_of
from openhtc.domain.work import Report

TICK_SECONDS = 0.2
RUN_SECONDS = 1.0


class PacedAgent:
    """``with`` starts it and ends it; at the end all that it leased has ended."""

    def __init__(self, agent: LoadAgent, jobs_per_second: float) -> None:
        self._agent = agent
        self._bundle = round(jobs_per_second * TICK_SECONDS)
        self._running: deque[tuple[int, Sequence[LeasedJob]]] = deque()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="paced agent")
        self._error: BaseException | None = None
        self.ended = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            due = time.monotonic()
            while not self._stop.wait(max(0.0, due - time.monotonic())):
                self._tick(self._agent.lease(self._bundle), RUN_SECONDS)
                due += TICK_SECONDS
            self._tick([], 0.0)
        except BaseException as error:  # noqa: BLE001 (raised where the agent is ended)
            self._error = error

    def _tick(self, leased: Sequence[LeasedJob], run_seconds: float) -> None:
        """Tell the starts of these jobs and the ends of those that ran long enough, in one report."""
        now = now_micros()
        news = [start_of(job, now) for job in leased]
        if leased:
            self._running.append((now, leased))
        while self._running and self._running[0][0] <= now - run_seconds * 1e6:
            started, jobs = self._running.popleft()
            news += [end_of(job, started, now) for job in jobs]
            self.ended += len(jobs)
        self._agent.report(Report(jobs=news))
