"""What measurements are told in: percentiles and spreads, never a single number of a noisy machine."""

import statistics
from collections.abc import Callable, Sequence

Figures = dict[str, object]
"""What goes into the JSON file: numbers, lists of numbers, texts, and tables of those."""

Say = Callable[[str], None]
"""Shows a line of progress."""


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that so many percent of the values do not exceed."""
    ordered = sorted(values)
    rank = max(0, min(len(ordered) - 1, -(-int(len(ordered) * percent) // 100) - 1))
    return ordered[rank]


def spread(values: Sequence[float], digits: int = 2) -> Figures:
    """Every single figure and their median, smallest and largest."""
    return {
        "median": round(statistics.median(values), digits),
        "min": round(min(values), digits),
        "max": round(max(values), digits),
        "all": [round(value, digits) for value in values],
    }


def milliseconds(seconds: Sequence[float]) -> Figures:
    """p50, p95, p99 and the largest of times in seconds, as milliseconds, and all of them."""
    return {
        "count": len(seconds),
        **{f"p{percent}_ms": round(percentile(seconds, percent) * 1e3, 2) for percent in (50, 95, 99)},
        "max_ms": round(max(seconds) * 1e3, 2),
        "all_ms": [round(value * 1e3, 2) for value in seconds],
    }
