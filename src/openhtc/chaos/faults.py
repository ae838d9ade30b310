"""Faults that can be done to an installation of one machine, each for a while and with an end."""

import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from openhtc.chaos.processes import helper_processes, job_processes, part_process
from openhtc.embedded.layout import DataLayout
from openhtc.lifecycle.identity import ProcessIdentity

Wait = Callable[[float], bool]
"""Sleeps for so many seconds; True when everything is to end now."""

_GONE_SECONDS = 10.0


class FaultNotDone(Exception):
    """There was nothing to do it to, for instance because the part is just being started again."""


@dataclass(frozen=True, slots=True)
class Fault:
    """``do`` draws what it needs, does it, keeps it up, ends it, and says what it was."""

    name: str
    do: Callable[[Random, Wait], str]
    weight: int = 1


PARTS = ("server", "agent-server", "agent", "postgres", "s3", "registry")


def faults_of(layout: DataLayout, lease_seconds: float) -> list[Fault]:
    """What can be done to an installation of `openhtc up`. The supervisor itself is left alone."""

    def agent() -> int:
        found = part_process(layout, "agent")
        if found is None:
            raise FaultNotDone("the agent does not run")
        return found.pid

    return [
        *(Fault(f"kill {part}", _killer(layout, part), weight=2) for part in PARTS),
        Fault("kill a job's process", lambda random, _: kill_one(job_processes(agent()), random, "job"), 4),
        Fault(
            "kill a helper of the agent",
            lambda random, _: kill_one(helper_processes(agent()), random, "helper"),
            2,
        ),
        Fault(
            "stop the agent past its lease",
            lambda random, wait: pause(
                part_process(layout, "agent"), lease_seconds * random.uniform(1.2, 1.6), wait, "agent"
            ),
        ),
        *(Fault(f"stop {part} for a moment", _pauser(layout, part)) for part in PARTS),
        Fault("kill everything at once", lambda random, _: kill_all(layout)),
    ]


def _killer(layout: DataLayout, part: str) -> Callable[[Random, Wait], str]:
    return lambda random, wait: kill(part_process(layout, part), part)


def _pauser(layout: DataLayout, part: str) -> Callable[[Random, Wait], str]:
    return lambda random, wait: pause(part_process(layout, part), random.uniform(0.2, 2.0), wait, part)


def kill(process: ProcessIdentity | None, name: str) -> str:
    """SIGKILL. Raises FaultNotDone when there is nothing to kill."""
    if process is None or not process.signal(signal.SIGKILL):
        raise FaultNotDone(f"{name} does not run")
    process.wait_gone(_GONE_SECONDS)
    return f"{name}, process {process.pid}"


def kill_one(processes: Sequence[ProcessIdentity], random: Random, name: str) -> str:
    if not processes:
        raise FaultNotDone(f"no {name} runs")
    return kill(random.choice(sorted(processes, key=lambda process: process.pid)), name)


def pause(process: ProcessIdentity | None, seconds: float, wait: Wait, name: str) -> str:
    """SIGSTOP, and SIGCONT after a while, come what may."""
    if process is None or not process.signal(signal.SIGSTOP):
        raise FaultNotDone(f"{name} does not run")
    try:
        wait(seconds)
    finally:
        process.signal(signal.SIGCONT)
    return f"{name}, process {process.pid}, for {seconds:.1f} s"


def kill_all(layout: DataLayout) -> str:
    """Every part within a few milliseconds; the supervisor starts them again."""
    found = {part: part_process(layout, part) for part in PARTS}
    killed = [
        part for part, process in found.items() if process is not None and process.signal(signal.SIGKILL)
    ]
    if not killed:
        raise FaultNotDone("nothing runs")
    return ", ".join(killed)
