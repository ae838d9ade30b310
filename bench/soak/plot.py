"""The samples of a soak as a picture."""

from itertools import pairwise
from pathlib import Path
from typing import Any

from bench.control_plane.stack import PARTS
from bench.soak.samples import Sample

_WINDOW = 60
"""Points of throughput along the whole run, about."""


def write_plot(samples: list[Sample], title: str, path: Path) -> None:
    """Throughput, memory and database size over time. Needs matplotlib, the extra ``demo``."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(3, 1, figsize=(10, 9), sharex=True, layout="constrained")
    minutes = [each.seconds / 60 for each in samples]
    _throughput(axes[0], samples)
    for part in PARTS:
        axes[1].plot(minutes, [each.memory_mib[part] for each in samples], label=part)
    axes[1].set_ylabel("memory (MiB)")
    axes[1].legend(ncols=len(PARTS), fontsize=8)
    axes[2].plot(minutes, [each.database_bytes / 1e6 for each in samples], color="#4c78a8")
    axes[2].set_ylabel("database (MB)")
    axes[2].set_xlabel("minutes")
    for panel in axes:
        panel.set_ylim(bottom=0)
        panel.grid(alpha=0.3)
    figure.suptitle(title)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _throughput(panel: Any, samples: list[Sample]) -> None:
    """Means over windows, so that the noise of single samples does not hide the course."""
    step = max(1, len(samples) // _WINDOW)
    some = samples[::step]
    pairs = list(pairwise(some))
    minutes = [(before.seconds + after.seconds) / 120 for before, after in pairs]
    rates = [
        (after.ended - before.ended) / max(after.seconds - before.seconds, 1e-9) for before, after in pairs
    ]
    panel.plot(minutes, rates, color="#4c78a8")
    panel.set_ylabel("jobs ended per second")
