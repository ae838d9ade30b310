"""One measured turn of a drain, and what several of them say together."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

from bench.control_plane.load_agent import LoadAgent, ReportStyle, drain
from bench.control_plane.measure import CpuMeter
from bench.control_plane.workplace import Workplace
from openhtc.bench.figures import Figures, Say, spread


@dataclass(frozen=True, slots=True)
class Load:
    """How agents work: so many at once, so many jobs in one lease, start and end told apart or together."""

    agents: int
    bundle: int
    style: ReportStyle = "apart"


@dataclass(frozen=True, slots=True)
class Turn:
    jobs: int
    seconds: float
    cpu_seconds: dict[str, float]
    """By part of the service, and ``load``."""

    @property
    def rate(self) -> float:
        return self.jobs / self.seconds


@contextmanager
def load_agents(place: Workplace, number: int) -> Iterator[list[LoadAgent]]:
    agents = [LoadAgent(place, f"load-{each}") for each in range(number)]
    try:
        yield agents
    finally:
        for agent in agents:
            agent.close()


def measured_drain(place: Workplace, agents: Sequence[LoadAgent], jobs: int, load: Load, say: Say) -> Turn:
    """Drain so many of the jobs that are queued."""
    meter = CpuMeter(place.stack)
    seconds = drain(agents, jobs, load.bundle, load.style, progress(jobs, say))
    turn = Turn(jobs, seconds, meter.seconds())
    used = ", ".join(f"{part} {cpu:.2f}" for part, cpu in turn.cpu_seconds.items() if cpu >= 0.01)
    say(f"{jobs} jobs in {seconds:.2f} s: {turn.rate:.0f} a second; CPU seconds: {used}")
    return turn


def progress(jobs: int, say: Say) -> Callable[[int], None]:
    """Says now and then how far a long drain is."""
    step = max(20_000, jobs // 10)
    said = 0

    def on_progress(ended: int) -> None:
        nonlocal said
        if ended // step > said:
            said = ended // step
            say(f"{ended} of {jobs} jobs")

    return on_progress


def summed_up(turns: Sequence[Turn]) -> Figures:
    """The rates, and the CPU time for each job by process: median in microseconds, and all."""
    parts = turns[0].cpu_seconds
    costs = {part: [turn.cpu_seconds[part] * 1e6 / turn.jobs for turn in turns] for part in parts}
    return {
        "jobs_per_second": spread([turn.rate for turn in turns]),
        "cpu_us_per_job": {part: round(median(values), 1) for part, values in costs.items()},
        "cpu_us_per_job_all": {part: [round(value, 1) for value in values] for part, values in costs.items()},
    }
