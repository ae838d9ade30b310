"""Reads Prometheus' text format strictly: whatever the format does not allow fails the test."""

import re
from dataclasses import dataclass, field

Labels = frozenset[tuple[str, str]]

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\"n])*"'
_SAMPLE = re.compile(rf"({_NAME})(?:\{{({_LABEL}(?:,{_LABEL})*)\}})? (\+Inf|-?[0-9][0-9.e+-]*)")
_ONE_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"')
_UNESCAPED = {r"\\": "\\", r"\"": '"', r"\n": "\n"}


@dataclass
class Metric:
    kind: str
    samples: dict[tuple[str, Labels], float] = field(default_factory=dict)


@dataclass
class Exposition:
    metrics: dict[str, Metric]

    def values(self, name: str, **wanted: str) -> dict[Labels, float]:
        """Samples of a name whose labels include the wanted ones, by their other labels."""
        metric = self.metrics[_base(name, self.metrics)]
        chosen = set(wanted.items())
        return {
            frozenset(labels - chosen): value
            for (sample, labels), value in metric.samples.items()
            if sample == name and chosen <= labels
        }

    def value(self, name: str, **wanted: str) -> float:
        """Of the only sample with these labels and perhaps others."""
        found = self.values(name, **wanted)
        assert len(found) == 1, f"{name} {wanted}: {found}"
        return next(iter(found.values()))

    def total(self, name: str, **wanted: str) -> float:
        return sum(self.values(name, **wanted).values())

    def label_values(self, label: str) -> set[str]:
        return {
            value
            for metric in self.metrics.values()
            for _, labels in metric.samples
            for name, value in labels
            if name == label
        }


def parse(text: str) -> Exposition:
    assert text.endswith("\n"), "the last line ends like all others"
    metrics: dict[str, Metric] = {}
    current, helped = "", ""
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            helped = line.split(" ")[2]
            assert helped not in metrics, f"{helped} comes twice"
        elif line.startswith("# TYPE "):
            _, _, current, kind = line.split(" ")
            assert current == helped and kind in ("counter", "gauge", "histogram"), line
            metrics[current] = Metric(kind)
        else:
            _sample(line, current, metrics[current])
    for name, metric in metrics.items():
        assert (metric.kind == "counter") == name.endswith("_total"), name
        if metric.kind == "histogram":
            _check_histogram(name, metric)
    return Exposition(metrics)


def _sample(line: str, current: str, metric: Metric) -> None:
    match = _SAMPLE.fullmatch(line)
    assert match is not None, f"no sample: {line!r}"
    name, labelled, value = match.groups()
    suffixes = ("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",)
    assert name in {current + suffix for suffix in suffixes}, f"{line!r} below {current}"
    pairs = _ONE_LABEL.findall(labelled or "")
    labels = frozenset((key, re.sub(r"\\.", lambda m: _UNESCAPED[m[0]], text)) for key, text in pairs)
    assert len({key for key, _ in labels}) == len(pairs), f"a label twice: {line!r}"
    assert (name, labels) not in metric.samples, f"a sample twice: {line!r}"
    metric.samples[name, labels] = float(value)


def _check_histogram(name: str, metric: Metric) -> None:
    series: dict[Labels, list[tuple[float, float]]] = {}
    for (sample, labels), value in metric.samples.items():
        if sample == f"{name}_bucket":
            bound = next(text for key, text in labels if key == "le")
            series.setdefault(labels - {("le", bound)}, []).append((float(bound), value))
    for labels, buckets in series.items():
        bounds, counts = zip(*buckets, strict=True)
        assert list(bounds) == sorted(set(bounds)) and bounds[-1] == float("inf"), f"{name} {bounds}"
        assert list(counts) == sorted(counts), f"{name} {counts}"
        assert metric.samples[f"{name}_count", labels] == counts[-1]
        assert (f"{name}_sum", labels) in metric.samples


def _base(name: str, metrics: dict[str, Metric]) -> str:
    return name if name in metrics else re.sub(r"_(bucket|sum|count)$", "", name)
