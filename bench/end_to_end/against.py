"""The service and the other contenders in turns, each running the same program the same number of times."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.end_to_end.contenders import Contender, contenders
from openhtc.bench import rate
from openhtc.bench.figures import Figures, Say, spread
from openhtc.bench.place import Place

OPENHTC = "openhtc"


def measure(place: Place, jobs: int, turns: int, say: Say) -> Figures:
    """The rates, and in ``ratio`` the service's rate by that of each contender, of the same turn."""
    rates: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="openhtc-bench-") as folder:
        others = contenders(Path(folder, "others"), jobs)
        rate.turn(place, min(jobs, 1000))
        for number in range(turns):
            for name, found in _turn(place, jobs, others):
                rates.setdefault(name, []).append(found)
                say(f"turn {number + 1} of {turns}: {name}: {found:.1f}/s")
    ours = rates[OPENHTC]
    return {
        "jobs": jobs,
        "per_second": {name: spread(found) for name, found in rates.items()},
        "ratio": {
            name: spread([one / other for one, other in zip(ours, found, strict=True)])
            for name, found in rates.items()
            if name != OPENHTC
        },
    }


def _turn(place: Place, jobs: int, others: list[Contender]) -> Iterator[tuple[str, float]]:
    yield OPENHTC, rate.turn(place, jobs).rate
    for each in others:
        yield each.name, each.turn()
