"""The text format in which Prometheus reads metrics, version 0.0.4."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

MEDIA_TYPE = "text/plain; version=0.0.4"
"""In UTF-8, which the content type is to say as well."""

_ESCAPED = {"\\": r"\\", '"': r"\"", "\n": r"\n"}
_ESCAPES = re.compile(r'[\\"\n]')


class Kind(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Histogram:
    """``counts`` are of the intervals, each up to its bound, and one more of everything above the last bound."""

    counts: Sequence[int]
    total: float
    """The sum of all values."""


def labels(**values: str) -> str:
    """``name="value"`` pairs with commas, to be put between braces."""
    return ",".join(f'{name}="{_ESCAPES.sub(_escape, value)}"' for name, value in values.items())


def _escape(match: re.Match[str]) -> str:
    return _ESCAPED[match[0]]


@dataclass(slots=True)
class Family:
    """All samples of one metric. ``help`` is one line."""

    name: str
    kind: Kind
    help: str
    _samples: list[str] = field(default_factory=list)

    def add(self, labelled: str, value: float) -> None:
        """``labelled`` comes from ``labels``; empty for none."""
        braced = f"{{{labelled}}}" if labelled else ""
        self._samples.append(f"{self.name}{braced} {_number(value)}\n")

    def add_histogram(self, labelled: str, bounds: Sequence[str], histogram: Histogram) -> None:
        """``bounds`` are the upper ends of the intervals but the last, as they are to be written."""
        seen = 0
        for bound, count in zip((*bounds, "+Inf"), histogram.counts, strict=True):
            seen += count
            self._samples.append(f'{self.name}_bucket{{{labelled},le="{bound}"}} {seen}\n')
        self._samples.append(f"{self.name}_sum{{{labelled}}} {_number(histogram.total)}\n")
        self._samples.append(f"{self.name}_count{{{labelled}}} {seen}\n")

    def lines(self) -> Iterator[str]:
        """A metric without samples is named all the same, so that readers learn of it."""
        yield f"# HELP {self.name} {self.help}\n# TYPE {self.name} {self.kind}\n"
        yield from self._samples


def exposition(families: Iterable[Family]) -> str:
    return "".join(line for family in families for line in family.lines())


def _number(value: float) -> str:
    return "+Inf" if value == float("inf") else repr(value)
