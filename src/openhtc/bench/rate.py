"""How many jobs that do nothing the service completes in a second, from submission to the last end."""

import time
from dataclasses import dataclass

from openhtc.bench.figures import Figures, Say, spread
from openhtc.bench.place import Place


@dataclass(frozen=True, slots=True)
class Turn:
    jobs: int
    accepted_seconds: float
    """Until the last answer to the submission."""
    seconds: float
    """Until the summary says that all have ended."""

    @property
    def rate(self) -> float:
        return self.jobs / self.seconds


def turn(place: Place, jobs: int) -> Turn:
    """Submit so many jobs to a new task and wait for their ends. Raises BenchFailed unless all succeed."""
    task = place.new_task("rate")
    began = time.monotonic()
    place.submit(task, jobs)
    accepted = time.monotonic() - began
    place.wait(task, jobs)
    return Turn(jobs, accepted, time.monotonic() - began)


def measure(place: Place, jobs: int, turns: int, say: Say) -> Figures:
    """After a short turn that brings the image to the nodes and is not counted."""
    turn(place, min(jobs, 500))
    done = list[Turn]()
    for number in range(turns):
        done.append(turn(place, jobs))
        say(f"turn {number + 1} of {turns}: {done[-1].rate:.0f} jobs/s")
    return {
        "jobs": jobs,
        "jobs_per_second": spread([each.rate for each in done]),
        "accepted_per_second": spread([each.jobs / each.accepted_seconds for each in done]),
    }
