"""Everything that `openhtc bench` measures, one after the other, and the table of it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from openhtc.bench import delays, questions, rate, share
from openhtc.bench.figures import Figures, Say
from openhtc.bench.place import Place

Row = tuple[str, str, str]
"""What, its median or percentile, and its spread."""


@dataclass(frozen=True, slots=True)
class Wishes:
    jobs: int
    """Of each turn of the rate, and what the questions are about."""
    turns: int
    tries: int
    """Single jobs, and questions of each kind."""
    slots: int | None
    """How many jobs of one vCPU run at once; None: found out."""


MEASUREMENTS: dict[str, Callable[[Place, Wishes, Say], Figures]] = {
    "rate": lambda place, wishes, say: rate.measure(place, wishes.jobs, wishes.turns, say),
    "delays": lambda place, wishes, say: delays.measure(place, wishes.tries, say),
    "share": lambda place, wishes, say: share.measure(
        place, wishes.slots or share.slots(place, say), wishes.turns, say
    ),
    "questions": lambda place, wishes, say: questions.measure(place, wishes.jobs, wishes.tries, say),
}


def measure(place: Place, wishes: Wishes, only: Sequence[str], say: Say) -> Figures:
    """The figures by measurement. Raises BenchFailed."""
    found: Figures = {}
    for name in only or list(MEASUREMENTS):
        say(f"measuring: {name}")
        found[name] = MEASUREMENTS[name](place, wishes, say)
    return found


def rows(figures: object, prefix: str = "") -> Iterator[Row]:
    """One row for each spread and each set of times."""
    if not isinstance(figures, dict):
        return
    if "median" in figures:
        yield prefix, f"{figures['median']:g}", f"{figures['min']:g} to {figures['max']:g}"
    elif "p50_ms" in figures:
        p50, p95, p99 = (f"{figures[f'p{percent}_ms']:g}" for percent in (50, 95, 99))
        yield f"{prefix}, p50", f"{p50} ms", f"p95 {p95} ms, p99 {p99} ms"
    else:
        for name, value in figures.items():
            readable = name.replace("_", " ")
            yield from rows(value, f"{prefix}, {readable}" if prefix else readable)
