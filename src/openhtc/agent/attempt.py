"""One attempt at one job, from its image to the report of its end. Runs in the slot's thread."""

import time
from dataclasses import dataclass

import structlog

from openhtc.agent.counts import Counts
from openhtc.agent.held import HeldJob
from openhtc.agent.images.config import command, environment, resolve_user
from openhtc.agent.images.errors import ImageError
from openhtc.agent.images.store import Image, ImageStore
from openhtc.agent.outbox import Outbox
from openhtc.agent.output import JobOutput, OutputReader
from openhtc.agent.runtimes.base import Container, ContainerSpec, Exit, Runtime
from openhtc.agent.sandbox.slot import Collected, SandboxError, Slot
from openhtc.agent.shipper import Shipper
from openhtc.agent.verdict import Verdict, judge, stop_reason
from openhtc.domain.enums import Outcome
from openhtc.domain.work import JobReport

WATCH_SECONDS = 1.0
DRAIN_SECONDS = 5.0
"""After the last process has ended, what is in its pipe is read within this time."""
PULL_PAUSES = (0.5, 2.0, 5.0)
"""Seconds before an image is tried again when the registry did not answer."""

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Parts:
    """What every slot of the agent uses."""

    images: ImageStore
    runtime: Runtime
    reader: OutputReader
    shipper: Shipper
    outbox: Outbox
    counts: Counts
    watch_disk: bool
    """The kernel does not hold jobs to their disk: look once a second."""


def run_attempt(parts: Parts, slot: Slot, job: HeldJob) -> None:
    """Run the job to its end and tell it.

    Raises SandboxError, after the end was told, when the slot cannot be used again.
    """
    attempt = _Attempt(parts, slot, job)
    try:
        attempt.tell(_judged(attempt, job))
    finally:
        attempt.clean_up()


def _judged(attempt: "_Attempt", job: HeldJob) -> Verdict:
    try:
        return attempt.run()
    except ImageError as error:
        return attempt.without_image(error)
    except (SandboxError, OSError) as error:
        logger.error("attempt_not_possible", lease=job.lease.lease, error=str(error))
        return Verdict(Outcome.NODE_FAULT, reason=f"the node could not set the job up: {error}")


class _Attempt:
    def __init__(self, parts: Parts, slot: Slot, job: HeldJob) -> None:
        self._parts, self._slot, self._job = parts, slot, job
        self._image: Image | None = None
        self._prepared = False
        self._output: JobOutput | None = None
        self._started_at: int | None = None
        self._ended_at: int | None = None
        self._collected: Collected | None = None
        lease = job.lease
        self._name = f"job-{lease.lease}"

    def run(self) -> Verdict:
        """Raises ImageError, SandboxError or OSError when the program could not be started."""
        self._image = self._acquire()
        if self._job.cause is not None:
            return Verdict(self._job.cause, reason=stop_reason(self._job.work, self._job.cause))
        spec = self._prepare(self._image)
        end = self._run_container(spec)
        self._collected = collected = self._slot.collect()
        verdict = judge(
            self._job.work,
            end,
            cause=self._job.cause,
            oom_kills=collected.oom_kills,
            disk_full=collected.disk_full,
        )
        if not verdict.ran:
            self._started_at = None
        return verdict

    def without_image(self, error: ImageError) -> Verdict:
        if self._job.cause is not None:
            return Verdict(self._job.cause, reason=stop_reason(self._job.work, self._job.cause))
        return Verdict(Outcome.NODE_FAULT if error.transient else Outcome.CANNOT_START, reason=str(error))

    def tell(self, verdict: Verdict) -> None:
        """Hand the end over, behind the last line of output. Nothing is told of a lease that is gone."""
        self._parts.counts.ended(verdict.outcome)
        if self._output is not None:
            self._output.close_writer()
            self._parts.reader.drain(self._output, DRAIN_SECONDS)
        if self._job.gone:
            return
        self._job.told = True
        end = self._report(verdict)
        if self._output is not None:
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

    def _acquire(self) -> Image:
        for pause in (*PULL_PAUSES, None):
            try:
                return self._parts.images.acquire(self._job.work.image)
            except ImageError as error:
                if not error.transient or pause is None:
                    raise
                logger.warning("image_not_pulled", error=str(error), again_in=pause)
            if self._job.stopped.wait(pause):
                break
        raise ImageError("stopped while the image was waited for", transient=True)

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
        output = JobOutput(lease.lease, lease.batch, lease.index, lease.log_floor_ns)
        self._output = output
        self._parts.reader.add(output)
        self._started_at = time.time_ns() // 1000
        began = time.monotonic()
        container = self._parts.runtime.start(spec, output.writer)
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

    def _report(self, verdict: Verdict) -> JobReport:
        lease = self._job.lease
        return JobReport(
            lease=lease.lease,
            batch=lease.batch,
            index=lease.index,
            started_at=self._started_at,
            ended_at=self._ended_at or time.time_ns() // 1000,
            outcome=verdict.outcome,
            exit_code=verdict.exit_code,
            reason=verdict.reason,
            usage=self._collected.usage if self._collected is not None else None,
        )
