"""The results of a run as a picture."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.results import Results
from bench.targets import TARGETS, Target
from openhtc.bench.figures import Figures

OURS, OTHERS, MISSED = "#2a7f62", "#8d99ae", "#c1443c"


def write_plot(results: Results, path: Path) -> None:
    """Rates beside those of other runners, and how far each target is met. Needs matplotlib, the extra ``demo``."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(2, 1, figsize=(10, 11), height_ratios=[2, 5], layout="constrained")
    _rates(panels[0], results.figures.get("against", {}))
    _targets(panels[1], results.figures)
    machine = results.about["machine"]
    assert isinstance(machine, Mapping)
    figure.suptitle(f"openhtc {results.about['commit']}, {machine['cores']} cores, {results.about['began']}")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _rates(panel: Any, against: Figures) -> None:
    """Medians, with the smallest and largest turn as whiskers."""
    rates = against.get("per_second", {})
    assert isinstance(rates, dict)
    names = list(rates)[::-1]
    medians = [rates[name]["median"] for name in names]
    below = [rates[name]["median"] - rates[name]["min"] for name in names]
    above = [rates[name]["max"] - rates[name]["median"] for name in names]
    colors = [OURS if name == "openhtc" else OTHERS for name in names]
    panel.barh(names, medians, xerr=[below, above], color=colors, capsize=3)
    for place, median in enumerate(medians):
        panel.text(median, place, f"  {median:.0f}", va="bottom", fontsize=8)
    panel.set_xlabel("runs of /bin/true a second, two at a time")
    panel.grid(axis="x", alpha=0.3)


def _targets(panel: Any, figures: Mapping[str, Figures]) -> None:
    """How many times better than its target each figure is."""
    found = [(target, value) for target in TARGETS if (value := target.figure(figures)) is not None][::-1]
    margins = [_margin(target, value) for target, value in found]
    panel.barh(
        [target.what for target, _ in found],
        margins,
        color=[OURS if margin >= 1 else MISSED for margin in margins],
    )
    for place, (target, value) in enumerate(found):
        panel.text(max(margins[place], 1.0), place, f"  {value:.4g} {target.unit}", va="center", fontsize=8)
    panel.axvline(1.0, color="black", linewidth=1)
    panel.set_xscale("log")
    panel.set_xlabel("times better than its target")
    panel.tick_params(axis="y", labelsize=8)


def _margin(target: Target, value: float) -> float:
    better = value / target.goal if target.kind == "at least" else target.goal / max(value, target.goal / 100)
    return max(better, 0.01)
