"""One attempt at one job, from its image to the report of its end. Runs in the slot's thread."""

import time
from dataclasses import dataclass

import structlog

from openhtc.agent.account import Parts, acquire, not_possible, report, stopped, without_image
from openhtc.agent.held import HeldJob
from openhtc.agent.images.config import command, environment, resolve_user
from openhtc.agent.images.errors import ImageError
from openhtc.agent.images.store import Image
from openhtc.agent.output import OutputReader, PipeOutput
from openhtc.agent.runtimes.base import Container, ContainerSpec, Exit, Runtime
from openhtc.agent.sandbox.slot import Collected, SandboxError, Slot
from openhtc.agent.verdict import Verdict, judge
from openhtc.domain.enums import Outcome
from openhtc.domain.work import JobReport

WATCH_SECONDS = 1.0
DRAIN_SECONDS = 5.0
"""After the last process has ended, what is in its pipe is read within this time."""

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Tools:
    """What runs containers one at a time in a thread of its own."""

    runtime: Runtime
    reader: OutputReader


def run_attempt(parts: Parts, tools: Tools, slot: Slot, job: HeldJob) -> None:
    """Run the job to its end and tell it.

    Raises SandboxError, after the end was told, when the slot cannot be used again.
    """
    attempt = _Attempt(parts, tools, slot, job)
    try:
        attempt.tell(_judged(attempt, job))
    finally:
        attempt.clean_up()


def _judged(attempt: "_Attempt", job: HeldJob) -> Verdict:
    try:
        return attempt.run()
    except ImageError as error:
        return without_image(job, error)
    except (SandboxError, OSError) as error:
        logger.error("attempt_not_possible", lease=job.lease.lease, error=str(error))
        return not_possible(error)


class _Attempt:
    def __init__(self, parts: Parts, tools: Tools, slot: Slot, job: HeldJob) -> None:
        self._parts, self._tools, self._slot, self._job = parts, tools, slot, job
        self._image: Image | None = None
        self._prepared = False
        self._output: PipeOutput | None = None
        self._started_at: int | None = None
        self._ended_at: int | None = None
        self._collected: Collected | None = None
        lease = job.lease
        self._name = f"job-{lease.lease}"

    def run(self) -> Verdict:
        """Raises ImageError, SandboxError or OSError when the program could not be started."""
        self._image = acquire(self._parts.images, self._job)
        if self._job.cause is not None:
            return stopped(self._job)
        spec = self._prepare(self._image)
        end = self._run_container(spec)
        self._collected = collected = self._slot.collect()
        return judge(
            self._job.work,
            end,
            cause=self._job.cause,
            oom_kills=collected.oom_kills,
            disk_full=collected.disk_full,
        )

    def tell(self, verdict: Verdict) -> None:
        """Hand the end over, behind the last line of output. Nothing is told of a lease that is gone."""
        self._parts.counts.ended(verdict.outcome)
        if self._output is not None:
            self._output.close_writer()
            self._tools.reader.drain(self._output, DRAIN_SECONDS)
        if self._job.gone:
            return
        self._job.told = True
        usage = self._collected.usage if self._collected is not None else None
        end = report(self._job, verdict, started_us=self._started_at, ended_us=self._ended_at, usage=usage)
        if self._output is not None:
            self._parts.shipper.wait_room()
            self._parts.shipper.finish(self._output, end)
        else:
            self._parts.outbox.put_end(end)

    def clean_up(self) -> None:
        """Give everything back. Raises SandboxError."""
        try:
            if self._prepared:
                self._slot.reset()
        except OSError as error:
            raise SandboxError(str(error)) from error
        finally:
            if self._image is not None:
                self._parts.images.release(self._image)

    def _prepare(self, image: Image) -> ContainerSpec:
        work = self._job.work
        args = command(image.config, work.commands)
        identity = resolve_user(image.rootfs, image.config.user)
        self._prepared = True
        self._slot.prepare(image, work.needs, identity, image.config.workdir or None)
        return self._slot.spec(
            name=self._name,
            args=args,
            env=environment(image.config, identity, work.envs, self._job.lease.envs),
            cwd=work.working_dir or image.config.workdir or "/",
            identity=identity,
        )

    def _run_container(self, spec: ContainerSpec) -> Exit:
        lease = self._job.lease
        output = PipeOutput(
            lease.lease,
            lease.batch,
            lease.index,
            lease.log_floor_ns,
            max_bytes=self._parts.max_log_bytes,
        )
        self._output = output
        self._tools.reader.add(output)
        self._started_at = time.time_ns() // 1000
        began = time.monotonic()
        container = self._tools.runtime.start(spec, output.writer)
        output.close_writer()
        self._parts.counts.started()
        self._parts.outbox.started(
            JobReport(lease=lease.lease, batch=lease.batch, index=lease.index, started_at=self._started_at)
        )
        self._job.attach(container)
        try:
            return self._watch(container)
        finally:
            self._job.detach()
            # Not the clock's time: it may have been set back meanwhile.
            self._ended_at = self._started_at + int((time.monotonic() - began) * 1e6)

    def _watch(self, container: Container) -> Exit:
        """Wait for the end; enforce the time limit, kills that are due and the disk limit meanwhile."""
        deadline = time.monotonic() + self._job.work.exec_timeout_seconds
        while True:
            left = deadline - time.monotonic()
            to_kill = self._job.seconds_to_kill()
            patience = min(WATCH_SECONDS, max(0.0, left) or WATCH_SECONDS)
            if to_kill is not None:
                patience = min(patience, max(to_kill, 0.01))
            end = container.wait(patience)
            if end is not None:
                return end
            if time.monotonic() >= deadline and self._job.cause is None:
                self._job.stop(Outcome.TIMED_OUT)
            elif self._parts.watch_disk and self._job.cause is None and self._slot.disk_full():
                self._job.stop(Outcome.DISK_FULL, grace=0.0)
            self._job.kill_if_due()
