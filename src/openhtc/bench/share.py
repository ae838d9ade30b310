"""How much of the time of the slots is the jobs' own, for jobs of a given length."""

import time
from collections.abc import Sequence

from openhtc.bench.figures import Figures, Say, spread
from openhtc.bench.place import Place, epoch_seconds

LENGTHS = (1.0, 0.1, 0.02)
"""Seconds that a job sleeps."""
TURN_SECONDS = 15.0
MAX_SLOTS = 1024
_PROBE_SECONDS = 1.0


def slots(place: Place, say: Say) -> int:
    """How many jobs of one vCPU the service runs at once, at most MAX_SLOTS."""
    wide = 16
    while True:
        found = _most_at_once(_run(place, _PROBE_SECONDS, wide)[1])
        if found < wide or wide >= MAX_SLOTS:
            say(f"{found} jobs run at once")
            return found
        wide *= 4


def turn(place: Place, length: float, number: int, width: int) -> float:
    """The share: what ``number`` jobs slept together, of the time that ``width`` slots had for them.

    From the moment of the submission to the last end.
    """
    sent, spans = _run(place, length, number)
    lasted = max(end for _, end in spans) - sent
    return number * length / (width * lasted)


def measure(place: Place, width: int, turns: int, say: Say, part: float = 1.0) -> Figures:
    """Turns of about TURN_SECONDS each, or of that part of it."""
    found: Figures = {"slots": width}
    for length in LENGTHS:
        number = max(1, round(TURN_SECONDS * part / length)) * width
        turn(
            place, length, max(1, round(1 / length)) * width, width
        )  # how long these jobs last is known then
        shares = [turn(place, length, number, width) for _ in range(turns)]
        say(f"jobs of {length:g} s: {', '.join(f'{share:.1%}' for share in shares)} of the slots' time")
        found[f"{length:g} s"] = {"jobs": number, "share": spread(shares, digits=4)}
    return found


def _run(place: Place, length: float, number: int) -> tuple[float, list[tuple[float, float]]]:
    """When they were sent, and from when to when each job ran, in seconds since the epoch."""
    task = place.new_task("share")
    sent = time.time()
    place.submit(task, number, ("/bin/sleep", str(length)))
    place.wait(task, number, poll_seconds=0.2)
    return sent, [
        (epoch_seconds(job.started_at), epoch_seconds(job.completed_at)) for job in place.jobs(task)
    ]


def _most_at_once(spans: Sequence[tuple[float, float]]) -> int:
    """The largest number of spans that overlap at one moment."""
    steps = sorted([(begin, 1) for begin, _ in spans] + [(end, -1) for _, end in spans])
    now = most = 0
    for _, step in steps:
        now += step
        most = max(most, now)
    return most
