"""How many jobs a second the control plane carries: lease, start and end recorded, verified by the summary."""

from argparse import ArgumentParser, Namespace

from bench.control_plane.turns import Load, Turn, load_agents, measured_drain, summed_up
from bench.control_plane.workplace import Workplace
from openhtc.bench.figures import Figures, Say
from openhtc.domain.enums import JobStatus

HELP = "jobs a second through lease, start and end"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--jobs", type=int, default=20_000, help="jobs of each turn")
    add_load_arguments(parser)
    parser.add_argument("--turns", type=int, default=5, help="turns, after one that is not counted")


def add_load_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--agents", type=int, default=4, help="agents that work at once")
    parser.add_argument("--bundle", type=int, default=250, help="jobs of one lease")
    parser.add_argument(
        "--style",
        choices=["apart", "together"],
        default="apart",
        help="start and end in two reports or in one",
    )


def load_of(options: Namespace) -> Load:
    return Load(options.agents, options.bundle, options.style)


def run(place: Workplace, options: Namespace, say: Say) -> Figures:
    """Each turn's jobs are submitted before it, to a task of their own."""
    load, turns = load_of(options), list[Turn]()
    with load_agents(place, load.agents) as agents:
        for _ in range(options.turns + 1):
            task = place.new_task("rate")
            place.submit(task, options.jobs)
            turns.append(measured_drain(place, agents, options.jobs, load, say))
            place.verify(task, {JobStatus.SUCCEEDED: options.jobs})
    return {
        "jobs": options.jobs,
        "agents": load.agents,
        "bundle": load.bundle,
        "style": load.style,
        **summed_up(turns[1:]),
    }
