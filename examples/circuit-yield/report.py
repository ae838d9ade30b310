"""What the demo leaves behind: a table on the screen, results.csv and histogram.png."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aggregate import LIMITS, Aggregate, Result
from rich.table import Table


def table(found: Aggregate) -> Table:
    title = f"yield {found.yield_percent:.1f} % ({found.passed} of {found.circuits} circuits)"
    shown = Table(title=title, title_style="bold", header_style="bold", box=None)
    for name in ("measure", "unit", "limit"):
        shown.add_column(name, no_wrap=True)
    for name in ("p1", "p50", "p99", "outside"):
        shown.add_column(name, justify="right")
    for spread in found.spreads:
        numbers = (f"{value:.2f}" for value in (spread.p1, spread.p50, spread.p99))
        limit = spread.limit
        shown.add_row(limit.title, limit.unit, str(limit), *numbers, str(spread.failures))
    return shown


def as_json(found: Aggregate) -> dict[str, Any]:
    measures = {
        spread.limit.key: {
            "unit": spread.limit.unit,
            "limit": str(spread.limit),
            "p1": spread.p1,
            "p50": spread.p50,
            "p99": spread.p99,
            "failures": spread.failures,
        }
        for spread in found.spreads
    }
    return {
        "circuits": found.circuits,
        "passed": found.passed,
        "missing": found.missing,
        "yield_percent": round(found.yield_percent, 3),
        "measures": measures,
    }


def write_csv(results: Sequence[Result], path: Path) -> None:
    """One line for each circuit, with the names of the limits it breaks."""
    columns = ["index", *(limit.key for limit in LIMITS), "outside"]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        for each in results:
            broken = [limit.key for limit in LIMITS if not limit.passes(each[limit.key])]
            writer.writerow({**each, "outside": " ".join(broken)})


def write_histogram(results: Sequence[Result], found: Aggregate, path: Path) -> None:
    """A panel for each measure with its limits as lines."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 3, figsize=(12, 6.5), layout="constrained")
    for limit, panel in zip(LIMITS, axes.flat, strict=False):
        panel.hist([each[limit.key] for each in results], bins=40, color="#4c78a8")
        for bound in (limit.at_least, limit.at_most):
            if bound is not None:
                panel.axvline(bound, color="#d62728", linestyle="--", linewidth=1.5)
        panel.set_title(f"{limit.title} ({limit.unit})", fontsize=10)
        panel.set_ylabel("circuits", fontsize=8)
    last = axes.flat[-1]
    last.axis("off")
    text = f"yield {found.yield_percent:.1f} %\n{found.passed} of {found.circuits}\ncircuits"
    last.text(0.5, 0.5, text, ha="center", va="center", fontsize=20)
    figure.suptitle("Two-stage CMOS amplifier: Monte Carlo over process, temperature and supply")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
