"""What becomes of the service when users ask ten times as much as it can answer, while jobs run."""

import os
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import msgspec

from bench.control_plane.flood import Answers, Flood, Question
from bench.control_plane.load_agent import LoadAgent
from bench.control_plane.measure import CpuMeter
from bench.control_plane.paced import PacedAgent
from bench.control_plane.stack import Stack
from bench.control_plane.turns import load_agents
from bench.control_plane.workplace import Workplace
from openhtc.bench.figures import Figures, Say, percentile, spread

HELP = "answers and jobs a second at half to ten times the rate of requests that can be served"
FACTORS = (0.5, 1.0, 2.0, 5.0, 10.0)
CONNECTIONS = 16
_CALM_SECONDS = 2.0


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--jobs", type=int, default=200_000, help="jobs to store")
    parser.add_argument("--rate", type=float, default=300, help="jobs a second that run meanwhile")
    parser.add_argument(
        "--seconds", type=float, default=40, help="of each rate; connections are opened in the first"
    )
    parser.add_argument(
        "--turns", type=int, default=3, help="of calm, ten times the rate and a crowd, after the curve"
    )
    parser.add_argument(
        "--crowd", type=int, default=12_000, help="clients that ask again at once, whatever they are told"
    )
    parser.add_argument("--ask", choices=[*_QUESTIONS], default="pages", help="what is asked for")
    parser.add_argument(
        "--load-core",
        type=int,
        help="a processor for the requests alone; begin the rest with taskset on others",
    )
    parser.add_argument("--plot", type=Path, help="a PNG of the curve; default: none")


def run(place: Workplace, options: Namespace, say: Say) -> Figures:
    task = place.new_task("overload")
    place.submit(task, options.jobs)
    question = _QUESTIONS[options.ask](place, task)
    with load_agents(place, 1) as agents, _asking(options.load_core) as pool:
        course = _Course(place.stack, agents[0], pool, question, options, say)
        first = course.clients(CONNECTIONS)["served_per_second"]
        rows = [course.at_rate(first * factor) for factor in FACTORS]
        # In turns, because the machine is not the same from one minute to the next.
        turns = [
            {
                "quiet": course.clients(0),
                "calm": course.clients(CONNECTIONS),
                "ten_times": course.at_rate(first * FACTORS[-1]),
                "crowd": course.clients(options.crowd),
            }
            for _ in range(max(1, options.turns))
        ]
    figures: Figures = {"ask": options.ask, "rates": rows}
    for name in ("calm", "ten_times", "crowd"):
        figures[name] = spread([turn[name]["served_per_second"] for turn in turns])
    for name in ("ten_times", "crowd"):
        figures[f"goodput_of_{name}_to_calm"] = _ratio(turns, name, "served_per_second")
        figures[f"goodput_of_{name}_to_calm_by_processor_time"] = spread(
            [_cost(turn, "calm") / _cost(turn, name) for turn in turns], 3
        )
        figures[f"jobs_of_{name}_to_calm"] = _ratio(turns, name, "jobs_per_second")
    if options.plot is not None:
        _write_plot(rows, options.ask, options.plot)
        say(f"wrote {options.plot}")
    return figures


def _asking(core: int | None) -> ProcessPoolExecutor:
    """The process that asks; real users' processors are not the service's."""
    move = None if core is None else partial(os.sched_setaffinity, 0, {core})
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=move)


def _ratio(turns: Sequence[dict[str, dict[str, float]]], way: str, figure: str) -> float:
    return round(
        median(turn[way][figure] for turn in turns) / median(turn["calm"][figure] for turn in turns), 3
    )


def _cost(turn: dict[str, dict[str, float]], way: str) -> float:
    """Processor time for what is served, the database's and the server's, in units of the database's.

    The database does the same for each answer, however many are asked for, so its time tells how fast the machine is at
    the moment: rates move by a fifth with it, this by a hundredth. What the jobs cost that run meanwhile is taken off.
    """
    database = turn[way]["database_cpu"] - turn["quiet"]["database_cpu"]
    return (database + turn[way]["server_cpu"]) / database


def _page(place: Workplace, task: str) -> Question:
    path = f"/api/v1/htc/projects/{place.project_id}/tasks/{task}/jobs"
    return Question(place.stack.origin, "GET", path, place.client.bearer_token())


def _submission(place: Workplace, task: str) -> Question:
    body = msgspec.json.encode([place.batch(100)])
    path = f"/api/v1/htc/projects/{place.project_id}/tasks/{task}/jobs/batch"
    return Question(place.stack.origin, "POST", path, place.client.bearer_token(), body)


_QUESTIONS: dict[str, Callable[[Workplace, str], Question]] = {"pages": _page, "submissions": _submission}


@dataclass(frozen=True, slots=True)
class _Course:
    """Asks at one rate after the other, while jobs run."""

    stack: Stack
    agent: LoadAgent
    pool: ProcessPoolExecutor
    question: Question
    options: Namespace
    say: Say

    def clients(self, number: int) -> dict[str, float]:
        """Each asks again when it has its answer."""
        return self._measured(partial(Flood.one_after_the_other, clients=number))

    def at_rate(self, per_second: float) -> dict[str, float]:
        """Whatever becomes of the requests before."""
        return self._measured(partial(Flood.at_rate, per_second=per_second))

    def _measured(self, way: Callable[..., Answers]) -> dict[str, float]:
        seconds: float = self.options.seconds
        with PacedAgent(self.agent, self.options.rate) as paced:
            time.sleep(_CALM_SECONDS)
            meter, before, began = CpuMeter(self.stack), paced.ended, time.monotonic()
            asked = self.pool.submit(_ask, self.question, way, seconds)
            while not asked.done() and time.monotonic() - began < seconds:
                time.sleep(0.1)
            jobs = (paced.ended - before) / (time.monotonic() - began)
            used = meter.seconds()
        answers = asked.result()
        row = {
            "asked_per_second": round(answers.asked / seconds, 1),
            "served_per_second": round(answers.in_time / seconds, 1),
            "refused": answers.by_status["503"],
            "lost": answers.by_status["lost"],
            "given_up": answers.by_status["gone"],
            "p50_ms": round(percentile(answers.seconds, 50) * 1e3, 1) if answers.seconds else 0.0,
            "p95_ms": round(percentile(answers.seconds, 95) * 1e3, 1) if answers.seconds else 0.0,
            "jobs_per_second": round(jobs, 1),
            "server_cpu": round(used["server"] / seconds, 4),
            "database_cpu": round(used["postgres"] / seconds, 4),
            "load_cpu_seconds": round(answers.cpu_seconds, 1),
        }
        self.say(", ".join(f"{name} {value:g}" for name, value in row.items()))
        return row


def _ask(question: Question, way: Callable[..., Answers], seconds: float) -> Answers:
    """In a process of its own."""
    return way(Flood(question), seconds=seconds)


def _write_plot(rows: list[dict[str, float]], ask: str, file: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, (rates, delays) = pyplot.subplots(1, 2, figsize=(11, 4), layout="constrained")
    asked = [row["asked_per_second"] for row in rows]
    rates.plot(asked, [row["served_per_second"] for row in rows], "o-", label="answers a second")
    rates.plot(asked, [row["jobs_per_second"] for row in rows], "s-", label="jobs a second")
    rates.set(xlabel="requests a second", title=f"{ask.capitalize()}: what is served", ylim=(0, None))
    for axes in (rates, delays):
        axes.set_xscale("log")
        axes.set_xticks(asked, [f"{each:.0f}" for each in asked])
        axes.minorticks_off()
    rates.legend()
    delays.plot(asked, [row["p50_ms"] for row in rows], "o-", label="p50")
    delays.plot(asked, [row["p95_ms"] for row in rows], "s-", label="p95")
    delays.set(xlabel="requests a second", ylabel="ms", title="How long it takes", yscale="log")
    delays.legend()
    figure.savefig(file, dpi=110)
