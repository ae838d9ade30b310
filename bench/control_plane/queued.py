"""Whether a long queue slows agents down: the same drain beside a short and beside a long queue, in turns."""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from bench.control_plane.load_agent import LoadAgent
from bench.control_plane.rate import add_load_arguments, load_of
from bench.control_plane.stack import running
from bench.control_plane.turns import Load, Turn, load_agents, measured_drain, summed_up
from bench.control_plane.workplace import Workplace, opened
from openhtc.bench.figures import Figures, Say, spread
from openhtc.domain.enums import JobStatus

HELP = "the rate with 1,000,000 jobs queued against that with 10,000"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--jobs", type=int, default=10_000, help="jobs of each turn")
    parser.add_argument("--short", type=int, default=10_000, help="jobs that the one service has queued")
    parser.add_argument(
        "--long", type=int, default=1_000_000, help="jobs that the other has, 1,000 in a batch"
    )
    add_load_arguments(parser)
    parser.add_argument("--turns", type=int, default=5, help="turns of each, after one that is not counted")


@dataclass(frozen=True, slots=True)
class _Side:
    """A service with a queue that is as long after each turn as before it."""

    place: Workplace
    task: str
    queued: int
    agents: Sequence[LoadAgent]
    turns: list[Turn] = field(default_factory=list)

    def turn(self, jobs: int, load: Load, say: Say) -> None:
        """Add to the queue's end, take as many from its front."""
        say(f"{self.queued} jobs queued, turn {len(self.turns)}")
        self.place.submit(self.task, jobs)
        self.turns.append(measured_drain(self.place, self.agents, jobs, load, say))
        done = jobs * len(self.turns)
        self.place.verify(self.task, {JobStatus.RUNNABLE: self.queued, JobStatus.SUCCEEDED: done})


def run(place: Workplace, options: Namespace, say: Say) -> Figures:
    """``place`` gets the long queue; a second service, which is started for that, the short one."""
    load = load_of(options)
    with ExitStack() as stack:
        other = stack.enter_context(opened(stack.enter_context(running(None, say)), say))
        long = stack.enter_context(_side(place, options.long, load, say))
        short = stack.enter_context(_side(other, options.short, load, say))
        for _ in range(options.turns + 1):
            short.turn(options.jobs, load, say)
            long.turn(options.jobs, load, say)
    pairs = zip(long.turns[1:], short.turns[1:], strict=True)
    return {
        "jobs": options.jobs,
        "agents": load.agents,
        "bundle": load.bundle,
        "style": load.style,
        "short": {"queued": short.queued, **summed_up(short.turns[1:])},
        "long": {"queued": long.queued, **summed_up(long.turns[1:])},
        "ratio": spread([one.rate / other.rate for one, other in pairs]),
    }


@contextmanager
def _side(place: Workplace, queued: int, load: Load, say: Say) -> Iterator[_Side]:
    task = place.new_task("queue")
    say(f"submitting {queued} jobs")
    place.submit(task, queued)
    with load_agents(place, load.agents) as agents:
        yield _Side(place, task, queued, agents)
