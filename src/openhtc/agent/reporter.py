"""Tells the server the news in bundles, and that this agent lives; takes back what is to be stopped."""

import threading
import time
from collections.abc import Callable
from random import random

import structlog

from openhtc.agent.held import HeldJobs
from openhtc.agent.journal import Entry
from openhtc.agent.outbox import Outbox
from openhtc.agent.session import Session
from openhtc.agent.wire import RequestInvalid, ServerAway, ServerRefuses
from openhtc.domain.work import JobReport, Report, ReportAnswer

BUNDLE_SECONDS = 0.2
BUNDLE_ITEMS = 500
HEARTBEAT_SECONDS = 2.0
"""With jobs here, a cancelled one is heard of within about this time."""
FOREVER = 1 << 62
MAX_PAUSE = 5.0

logger = structlog.get_logger(__name__)


class Reporter:
    """One thread, one report in flight. Being without an answer for long is not the jobs' fault: they run
    on, what they did waits in the outbox, and the server says later which leases are gone.
    """

    def __init__(
        self,
        session: Session,
        outbox: Outbox,
        held: HeldJobs,
        on_answer: Callable[[ReportAnswer], None],
        on_refused: Callable[[ServerRefuses], None],
    ) -> None:
        self._session, self._outbox, self._held = session, outbox, held
        self._on_answer, self._on_refused = on_answer, on_refused
        self.stopping = False
        """Said to the server with every report: no more work for this agent."""
        self._leave_at: float | None = None
        self._heartbeat_at = 0.0
        self._limit = BUNDLE_ITEMS
        self._thread = threading.Thread(target=self._run, name="reporter", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def end_within(self, seconds: float) -> None:
        """Tell what is left, for at most ``seconds``, and good-bye."""
        self._leave_at = time.monotonic() + seconds

    def join(self, seconds: float) -> bool:
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def heartbeat_soon(self) -> None:
        self._heartbeat_at = 0.0

    def _run(self) -> None:
        pause = BUNDLE_SECONDS
        while not self._is_over():
            try:
                self._round()
                pause = BUNDLE_SECONDS
            except ServerAway as error:
                logger.warning("report_failed", error=str(error), waiting=len(self._outbox))
                pause = min(MAX_PAUSE, pause * 2)
            except ServerRefuses as error:
                self._on_refused(error)
                return
            self._sleep(pause * (0.75 + random() / 2))  # noqa: S311 - jitter
        self._say_goodbye()

    def _say_goodbye(self) -> None:
        """What is not held any more needs not wait for its lease to expire."""
        if len(self._outbox):
            return
        try:
            self._session.post("report", Report(held=self._held.leases(), stopping=True), ReportAnswer)
        except (ServerAway, ServerRefuses, RequestInvalid) as error:
            logger.warning("goodbye_failed", error=str(error))

    def _is_over(self) -> bool:
        if self._leave_at is None:
            return False
        return time.monotonic() >= self._leave_at or len(self._outbox) == 0

    def _sleep(self, seconds: float) -> None:
        """Gather news for ``seconds``; less when a bundle is full or the agent leaves."""
        if self._leave_at is not None:
            seconds = min(seconds, BUNDLE_SECONDS)
        self._outbox.wait(seconds, pieces=BUNDLE_ITEMS if seconds <= 2 * BUNDLE_SECONDS else FOREVER)

    def _round(self) -> None:
        """Send what there is; wait for news until the next heartbeat is due if there is none."""
        self._session.renew_if_due()
        if len(self._outbox) == 0:
            self._outbox.wait(min(0.5, max(0.0, self._heartbeat_at - time.monotonic())))
        entries, starts = self._outbox.peek(self._limit)
        now = time.monotonic()
        heartbeat = now >= self._heartbeat_at
        if not entries and not starts and not heartbeat:
            return
        if self._send(self._report(entries, starts, with_held=heartbeat), entries, starts) and heartbeat:
            self._heartbeat_at = now + self._heartbeat_seconds()

    def _heartbeat_seconds(self) -> float:
        quarter = self._session.current.lease_seconds / 4
        return min(HEARTBEAT_SECONDS, quarter) if len(self._held) else quarter

    def _report(self, entries: list[Entry], starts: list[JobReport], *, with_held: bool) -> Report:
        ends = [entry.end for entry in entries if entry.end is not None]
        held = None
        if with_held:
            ending = {end.lease for end in ends}
            held = [lease for lease in self._held.leases() if lease not in ending]
        return Report(
            jobs=[*starts, *ends],
            chunks=[entry.chunk for entry in entries if entry.chunk is not None],
            held=held,
            stopping=self.stopping,
        )

    def _send(self, report: Report, entries: list[Entry], starts: list[JobReport]) -> bool:
        try:
            answer = self._session.post("report", report, ReportAnswer)
        except RequestInvalid as error:
            self._narrow(error, entries, starts)
            return False
        self._limit = min(BUNDLE_ITEMS, self._limit * 2)
        self._settle(entries, starts)
        self._on_answer(answer)
        return True

    def _settle(self, entries: list[Entry], starts: list[JobReport]) -> None:
        self._outbox.acknowledge(len(entries), starts)
        for entry in entries:
            if entry.end is not None:
                self._held.remove(entry.lease)

    def _narrow(self, error: RequestInvalid, entries: list[Entry], starts: list[JobReport]) -> None:
        """The server cannot take this report: find the piece that it means, and leave that one out."""
        pieces = len(entries) + len(starts)
        if pieces > 1:
            self._limit = pieces // 2
            return
        logger.error("report_not_accepted", error=str(error), entries=entries, starts=starts)
        self._settle(entries, starts)
