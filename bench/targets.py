"""What the service is to do, and one table of what it does."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from rich.console import Console
from rich.table import Table

from openhtc.bench.figures import Figures


@dataclass(frozen=True, slots=True)
class Target:
    """``path``: where the figure stands in the results, by step and names."""

    what: str
    path: tuple[str, ...]
    kind: Literal["at least", "at most"]
    goal: float
    unit: str = ""

    def figure(self, results: Mapping[str, Figures]) -> float | None:
        """None where that step was not run."""
        found: object = results
        for name in self.path:
            if not isinstance(found, Mapping) or name not in found:
                return None
            found = found[name]
        return float(found) if isinstance(found, int | float) else None

    def is_met(self, figure: float) -> bool:
        return figure >= self.goal if self.kind == "at least" else figure <= self.goal


def _ratio(other: str) -> tuple[str, ...]:
    return ("against", "ratio", other, "median")


def _answer(question: str, percentile: str = "p95_ms") -> tuple[str, ...]:
    return ("reads", "answers", question, percentile)


TARGETS = (
    Target(
        "10,000 no-op jobs: rate by HyperQueue's, no container there", _ratio("HyperQueue"), "at least", 1.0
    ),
    Target("rate by HyperQueue's with bubblewrap", _ratio("HyperQueue, bubblewrap"), "at least", 2.0),
    Target("rate by that of runc for each job", _ratio("runc"), "at least", 10),
    Target("rate by that of podman for each job", _ratio("podman"), "at least", 50),
    Target("rate of 100,000 jobs by that of 10,000", ("more_jobs", "ratio", "median"), "at least", 0.95),
    Target(
        "control plane alone: leased, started, ended",
        ("control_plane", "jobs_per_second", "median"),
        "at least",
        5000,
        "jobs/s",
    ),
    Target("accept 1,000,000 jobs: speed by HyperQueue's", ("accept", "ratio", "median"), "at least", 1.0),
    Target(
        "growth of the server's memory meanwhile",
        ("accept", "server_growth_mib", "openhtc", "max"),
        "at most",
        200,
        "MiB",
    ),
    Target("rate with 1,000,000 queued by that alone", ("long_queue", "ratio", "median"), "at least", 0.9),
    Target("control plane alone: 1,000,000 queued by 10,000", ("queued", "ratio", "median"), "at least", 0.9),
    Target("status of a job among 1,000,000, p95", _answer("status"), "at most", 50, "ms"),
    Target("page of jobs, p95", _answer("page"), "at most", 50, "ms"),
    Target("events, p95", _answer("events"), "at most", 50, "ms"),
    Target("logs, p95", _answer("logs"), "at most", 50, "ms"),
    Target("summary, p95", _answer("summary"), "at most", 10, "ms"),
    Target("submission to running, p50", ("delays", "submitted_to_running", "p50_ms"), "at most", 50, "ms"),
    Target("end to visible, p99", ("delays", "ended_to_visible", "p99_ms"), "at most", 500, "ms"),
    Target("database for each ended job", ("bytes", "settled", "total"), "at most", 200, "bytes"),
    Target("agent's memory, 100,000 jobs", ("more_jobs", "memory_peak_mib", "agent"), "at most", 150, "MiB"),
    Target(
        "agent's memory, 1,000,000 queued", ("long_queue", "memory_peak_mib", "agent"), "at most", 150, "MiB"
    ),
    Target("agent's memory, a log of 1 GB", ("log", "memory_peak_mib", "agent"), "at most", 150, "MiB"),
    Target("useful share, jobs of 1 s", ("share", "1 s", "share", "median"), "at least", 0.99),
    Target("useful share, jobs of 100 ms", ("share", "0.1 s", "share", "median"), "at least", 0.97),
    Target("useful share, jobs of 20 ms", ("share", "0.02 s", "share", "median"), "at least", 0.85),
)


def print_table(results: Mapping[str, Figures]) -> int:
    """Every target of the steps that were run; how many are missed."""
    table = Table("what", "target", "figure", "", box=None, header_style="bold")
    missed = 0
    for target in TARGETS:
        if (figure := target.figure(results)) is None:
            continue
        met = target.is_met(figure)
        missed += not met
        goal = f"{target.kind} {target.goal:g} {target.unit}".strip()
        mark = "[green]met[/green]" if met else "[red]missed[/red]"
        table.add_row(target.what, goal, f"{figure:.4g} {target.unit}".strip(), mark)
    Console().print(table)
    return missed
