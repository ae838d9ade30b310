"""The service against itself: many jobs against few, a long queue against a short one."""

import time

from openhtc.bench import rate
from openhtc.bench.figures import Figures, Say, spread
from openhtc.bench.place import Place

WINDOW_SECONDS = 10.0


def more_jobs(place: Place, few: int, many: int, turns: int, say: Say) -> Figures:
    """The rate of many jobs by that of few, in turns."""
    rates: dict[int, list[float]] = {few: [], many: []}
    for number in range(turns):
        for jobs, found in rates.items():
            found.append(rate.turn(place, jobs).rate)
            say(f"turn {number + 1} of {turns}: {jobs} jobs: {found[-1]:.0f}/s")
    return {
        "few": {"jobs": few, "per_second": spread(rates[few])},
        "many": {"jobs": many, "per_second": spread(rates[many])},
        "ratio": spread([much / little for little, much in zip(rates[few], rates[many], strict=True)]),
    }


def long_queue(place: Place, few: int, queued: int, turns: int, say: Say) -> Figures:
    """The rate while so many more jobs wait, by that of few alone: windows of a long run, single runs beside them."""
    short, long = list[float](), list[float]()
    for number in range(turns):
        short.append(rate.turn(place, few).rate)
        long.append(_window(place, queued))
        say(f"turn {number + 1} of {turns}: {short[-1]:.0f}/s alone, {long[-1]:.0f}/s with {queued} queued")
    return {
        "queued": queued,
        "short": {"per_second": spread(short)},
        "long": {"per_second": spread(long)},
        "ratio": spread([one / other for one, other in zip(long, short, strict=True)]),
    }


def _window(place: Place, queued: int) -> float:
    """Jobs that end in a second, from a second after the last of them was accepted. The rest is cancelled."""
    task = place.new_task("long queue")
    place.submit(task, queued)
    time.sleep(1.0)
    before, began = place.summary(task).finished, time.monotonic()
    time.sleep(WINDOW_SECONDS)
    ended, lasted = place.summary(task).finished - before, time.monotonic() - began
    place.client.cancel(place.project.project_id, task)
    place.settle(task)
    return ended / lasted
