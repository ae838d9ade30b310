"""What is told of an attempt, whichever way it was run."""

import time
from dataclasses import dataclass

import structlog

from openhtc.agent.counts import Counts
from openhtc.agent.held import HeldJob
from openhtc.agent.images.errors import ImageError
from openhtc.agent.images.store import Image, ImageStore
from openhtc.agent.outbox import Outbox
from openhtc.agent.shipper import Shipper
from openhtc.agent.verdict import Verdict, stop_reason
from openhtc.domain.enums import Outcome
from openhtc.domain.work import JobReport, Usage

PULL_PAUSES = (0.5, 2.0, 5.0)
"""Seconds before an image is tried again when the registry did not answer."""

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Parts:
    """What every slot of the agent uses."""

    images: ImageStore
    shipper: Shipper
    outbox: Outbox
    counts: Counts
    watch_disk: bool
    """The kernel does not hold jobs to their disk: look once a second."""
    max_log_bytes: int
    """What is kept of one attempt's output."""


def acquire(images: ImageStore, job: HeldJob) -> Image:
    """The job's image, to be released; waits while the registry is away. Raises ImageError."""
    for pause in (*PULL_PAUSES, None):
        try:
            return images.acquire(job.work.image)
        except ImageError as error:
            if not error.transient or pause is None:
                raise
            logger.warning("image_not_pulled", error=str(error), again_in=pause)
        if job.stopped.wait(pause):
            break
    raise ImageError("stopped while the image was waited for", transient=True)


def stopped(job: HeldJob) -> Verdict:
    """On a job that was asked to stop before its program began."""
    assert job.cause is not None, "only for jobs that were asked to stop"
    return Verdict(job.cause, reason=stop_reason(job.work, job.cause))


def without_image(job: HeldJob, error: ImageError) -> Verdict:
    if job.cause is not None:
        return stopped(job)
    return Verdict(Outcome.NODE_FAULT if error.transient else Outcome.CANNOT_START, reason=str(error))


def not_possible(error: Exception) -> Verdict:
    """The node itself failed."""
    return Verdict(Outcome.NODE_FAULT, reason=f"the node could not set the job up: {error}")


def report(
    job: HeldJob, verdict: Verdict, *, started_us: int | None, ended_us: int | None, usage: Usage | None
) -> JobReport:
    """The end of an attempt; times in microseconds since the epoch, those of the program if it was started."""
    lease = job.lease
    return JobReport(
        lease=lease.lease,
        batch=lease.batch,
        index=lease.index,
        started_at=started_us if verdict.ran else None,
        ended_at=ended_us or time.time_ns() // 1000,
        outcome=verdict.outcome,
        exit_code=verdict.exit_code,
        reason=verdict.reason,
        usage=usage,
    )
