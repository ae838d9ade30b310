"""How soon a waiting agent gets a job that was just accepted, on an idle service."""

import threading
import time
from argparse import ArgumentParser, Namespace
from dataclasses import dataclass, field

from bench.control_plane.load_agent import LeasedJob, LoadAgent
from bench.control_plane.workplace import Workplace
from openhtc.bench.figures import Figures, Say, milliseconds
from openhtc.domain.enums import JobStatus

HELP = "from the answer to a submission to the waiting agent's answer"

_PAUSE_SECONDS = 0.15
"""Between two tries, so that the agent waits and nothing of the last one goes on."""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--tries", type=int, default=50, help="submissions of one job each")


@dataclass
class _Waiting:
    """One request for work, in a thread of its own."""

    agent: LoadAgent
    jobs: list[LeasedJob] = field(default_factory=list)
    answered: float = 0.0

    def wait(self) -> None:
        self.jobs = self.agent.lease(1, 20.0)
        self.answered = time.monotonic()


def run(place: Workplace, options: Namespace, say: Say) -> Figures:
    agent = LoadAgent(place, "wake")
    task = place.new_task("wake")
    _try(place, agent, task)  # not counted: first use of everything
    tries = []
    for number in range(options.tries):
        tries.append(_try(place, agent, task))
        if (number + 1) % 10 == 0:
            say(f"{number + 1} of {options.tries} tries")
    agent.close()
    place.verify(task, {JobStatus.SUCCEEDED: options.tries + 1})
    return {
        "answered_to_leased": milliseconds([after for after, _ in tries]),
        "sent_to_leased": milliseconds([whole for _, whole in tries]),
    }


def _try(place: Workplace, agent: LoadAgent, task: str) -> tuple[float, float]:
    """Seconds from the answer to the submission, and from its begin, to the agent's answer.

    The first may be negative: the agent is woken by the commit, the submission's answer is made after it.
    """
    waiting = _Waiting(agent)
    thread = threading.Thread(target=waiting.wait, name="waiting agent")
    thread.start()
    time.sleep(_PAUSE_SECONDS)
    sent = time.monotonic()
    place.submit(task, 1)
    answered = time.monotonic()
    thread.join()
    agent.run(waiting.jobs, "together")
    return waiting.answered - answered, waiting.answered - sent
