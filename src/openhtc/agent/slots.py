"""The threads that run jobs, one for each position of a job on the node, made when first needed."""

import threading
import time
from typing import Protocol

import structlog

from openhtc.agent.account import Parts
from openhtc.agent.attempt import Tools, run_attempt
from openhtc.agent.held import HeldJob
from openhtc.agent.local_queue import LocalQueue
from openhtc.agent.sandbox.sandbox import Sandbox
from openhtc.agent.sandbox.slot import SandboxError, Slot
from openhtc.domain.enums import Outcome

logger = structlog.get_logger(__name__)


class AnySlots(Protocol):
    """What takes jobs from the queue and runs them."""

    def grow(self) -> None:
        """There is work. Called from one thread only, after each lease."""

    def join(self, seconds: float) -> bool:
        """Wait for the end of all work after the queue was closed; False when something still runs."""

    def close(self) -> None:
        """Called once, last of all. What still runs ends with this process."""


class Slots:
    """Grows with the work up to ``limit`` threads. They live until the queue is closed: containers die with
    the thread that started them.
    """

    def __init__(self, sandbox: Sandbox, queue: LocalQueue, parts: Parts, tools: Tools, limit: int) -> None:
        self._sandbox, self._queue, self._parts, self._tools = sandbox, queue, parts, tools
        self._limit = limit
        tools.reader.start()
        self._threads: list[threading.Thread] = []

    def grow(self) -> None:
        """As many threads as there are jobs here. Called from one thread only, after each lease."""
        load = self._queue.load()
        wanted = min(self._limit, load.running_jobs + load.queued_jobs)
        while len(self._threads) < wanted:
            number = len(self._threads)
            thread = threading.Thread(target=self._run, args=(number,), name=f"slot-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def join(self, seconds: float) -> bool:
        """Wait for the threads after the queue was closed; False when one still runs."""
        until = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def close(self) -> None:
        self._tools.reader.close()

    def _run(self, number: int) -> None:
        generation = 0
        slot = self._sandbox.slot(f"{number}")
        while (job := self._queue.take()) is not None:
            try:
                if not self._attempt(slot, job):
                    generation += 1
                    slot = self._replace(slot, f"{number}g{generation}")
            finally:
                self._queue.done(job)
        slot.close()

    def _attempt(self, slot: Slot, job: HeldJob) -> bool:
        """Run one job; False when the slot cannot be used again."""
        try:
            run_attempt(self._parts, self._tools, slot, job)
        except SandboxError as error:
            logger.error("slot_unusable", lease=job.lease.lease, error=str(error))
            return False
        except Exception as error:
            # The border of the loop: whatever went wrong with one job, the next one is run.
            logger.exception("attempt_failed", lease=job.lease.lease)
            if not job.told:
                self._parts.counts.ended(Outcome.NODE_FAULT)
                self._parts.outbox.put_end(job.ended(Outcome.NODE_FAULT, f"the agent failed: {error!r}"))
            return False
        return True

    def _replace(self, slot: Slot, name: str) -> Slot:
        try:
            slot.close()
        except (SandboxError, OSError) as error:
            logger.error("slot_not_closed", error=str(error))
        return self._sandbox.slot(name)
