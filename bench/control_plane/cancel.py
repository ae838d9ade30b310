"""How long a cancellation of very many waiting jobs takes: until its answer, and until the last job has ended."""

import time
from argparse import ArgumentParser, Namespace

from bench.control_plane.workplace import NotVerified, Workplace
from openhtc.bench.figures import Figures, Say
from openhtc.domain.enums import JobStatus

HELP = "a million waiting jobs cancelled: the answer, the last end"
GIVEN_UP_SECONDS = 300


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--jobs", type=int, default=1_000_000, help="waiting jobs of the task")


def run(place: Workplace, options: Namespace, say: Say) -> Figures:
    task = place.new_task("cancel")
    place.submit(task, options.jobs)
    say(f"{options.jobs} jobs wait")
    began = time.monotonic()
    place.client.cancel(place.project_id, task)
    answered = time.monotonic() - began
    say(f"answered after {answered:.3f} s")
    while place.summary(task).unfinished:
        if time.monotonic() - began > GIVEN_UP_SECONDS:
            raise NotVerified(f"jobs are unfinished {GIVEN_UP_SECONDS} s after their cancellation")
        time.sleep(0.05)
    ended = time.monotonic() - began
    place.verify(task, {JobStatus.FAILED: options.jobs})
    return {
        "jobs": options.jobs,
        "answered_seconds": round(answered, 3),
        "ended_seconds": round(ended, 3),
        "jobs_per_second": round(options.jobs / ended),
    }
