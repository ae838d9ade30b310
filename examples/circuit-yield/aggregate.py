"""From the measures of many circuits to the yield: pure functions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Result = Mapping[str, float]
"""One circuit: ``index`` and the measures that are named in LIMITS."""


@dataclass(frozen=True)
class Limit:
    """What a measure of a good circuit must be. Bounds are in the measure's unit and inclusive."""

    key: str
    title: str
    unit: str
    at_least: float | None = None
    at_most: float | None = None

    def passes(self, value: float) -> bool:
        above = self.at_least is None or value >= self.at_least
        return above and (self.at_most is None or value <= self.at_most)

    def __str__(self) -> str:
        if self.at_least is not None and self.at_most is not None:
            return f"{self.at_least:g} to {self.at_most:g}"
        return f">= {self.at_least:g}" if self.at_least is not None else f"<= {self.at_most:g}"


LIMITS = (
    Limit("gain_db", "open-loop gain", "dB", at_least=74.0),
    Limit("bandwidth_mhz", "unity-gain bandwidth", "MHz", at_least=11.0),
    Limit("phase_margin_deg", "phase margin", "deg", at_least=62.0),
    Limit("supply_ua", "supply current", "uA", at_most=240.0),
    Limit("offset_mv", "input offset", "mV", at_least=-5.0, at_most=5.0),
)


@dataclass(frozen=True)
class Spread:
    """How one measure is distributed, and how many circuits are outside its limit."""

    limit: Limit
    p1: float
    p50: float
    p99: float
    failures: int


@dataclass(frozen=True)
class Aggregate:
    """circuits counts results; passed those within every limit; missing those asked for without a result."""

    circuits: int
    passed: int
    missing: int
    spreads: tuple[Spread, ...]

    @property
    def yield_percent(self) -> float:
        return 100.0 * self.passed / self.circuits if self.circuits else 0.0


def aggregate(results: Sequence[Result], expected: int) -> Aggregate:
    """``expected`` is how many circuits were to be simulated."""
    passed = sum(all(limit.passes(each[limit.key]) for limit in LIMITS) for each in results)
    spreads = (
        tuple(_spread(limit, [each[limit.key] for each in results]) for limit in LIMITS) if results else ()
    )
    return Aggregate(len(results), passed, expected - len(results), spreads)


def percentile(values: Sequence[float], percent: float) -> float:
    """With linear interpolation between the two nearest values. values must not be empty."""
    ordered = sorted(values)
    place = (len(ordered) - 1) * percent / 100.0
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def _spread(limit: Limit, values: Sequence[float]) -> Spread:
    p1, p50, p99 = (percentile(values, percent) for percent in (1, 50, 99))
    return Spread(limit, p1, p50, p99, sum(not limit.passes(value) for value in values))
