"""How soon a job begins on an idle service, and how soon its end can be seen.

The clocks of this machine and of the nodes are compared: on many machines the figures are as good as their clocks.
"""

import time
from dataclasses import dataclass

from openhtc.bench.figures import Figures, Say, milliseconds
from openhtc.bench.place import STUCK_SECONDS, BenchFailed, Place, epoch_seconds
from openhtc.client.models import Job

RUN_SECONDS = 0.1
"""The job lasts so long, so that nobody asks for it while it begins."""
PAUSE_SECONDS = 0.2
ASK_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class Try:
    begun: float
    """Seconds from the sending of the submission to the start of the program."""
    seen: float
    """Seconds from the end of the program to an answer of the API that says so."""


def one(place: Place, task: str) -> Try:
    """One job by itself. Raises BenchFailed unless it succeeds."""
    sent = time.time()
    (parent,) = place.submit(task, 1, ("/bin/sleep", str(RUN_SECONDS)))
    time.sleep(RUN_SECONDS * 0.8)
    job = _ended(place, task, f"{parent}:0")
    seen = time.time()
    return Try(epoch_seconds(job.started_at) - sent, seen - epoch_seconds(job.completed_at))


def _ended(place: Place, task: str, job_id: str) -> Job:
    until = time.monotonic() + STUCK_SECONDS
    while not (job := place.job(task, job_id)).status.is_terminal:
        if time.monotonic() > until:
            raise BenchFailed(f"the job {job_id} has not ended within {STUCK_SECONDS:.0f} s: {job.status}")
        time.sleep(ASK_SECONDS)
    return job


def measure(place: Place, tries: int, say: Say) -> Figures:
    """One job after the other, each alone; a first one, which is not counted, brings the image."""
    task = place.new_task("delays")
    one(place, task)
    done = list[Try]()
    for number in range(tries):
        time.sleep(PAUSE_SECONDS)
        done.append(one(place, task))
        if (number + 1) % 25 == 0:
            say(f"{number + 1} of {tries} single jobs")
    return {
        "submitted_to_running": milliseconds([each.begun for each in done]),
        "ended_to_visible": milliseconds([each.seen for each in done]),
    }
