"""Every fault: those of `openhtc chaos`, and those that need proxies, small disks and programs of our own."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

from faults.clock import Clock
from faults.place import LEASE_SECONDS, Place, command, reachable, up
from faults.program import Program
from faults.proxy import Proxy, Trouble
from openhtc.chaos.faults import (
    Fault,
    FaultNotDone,
    Wait,
    faults_of,
    kill,
    kill_one,
    pause,
)
from openhtc.chaos.processes import helper_processes, job_processes, part_process
from openhtc.lifecycle.stopping import DRAIN

_SPARE_BYTES = 1 << 20
"""Left free on a disk that is filled: less than a page of WAL or a log object."""


def all_faults(place: Place) -> list[Fault]:
    return [
        *faults_of(place.layout, LEASE_SECONDS),
        Fault("kill server 2", lambda random, wait: kill(place.server.identity, "second server"), 2),
        *(fault for agent in place.agents for fault in _of_agent(agent)),
        Fault("stop server 2 for a moment", lambda random, wait: _pause(place.server, random, wait)),
        *_of_proxy("agents and server", place.to_server, repeats=True),
        *_of_proxy("server and database", place.to_database, repeats=False),
        Fault("disk of an agent full", lambda random, wait: _fill(place.agent_disk, random, wait)),
        Fault("disk of everything full", lambda random, wait: _fill(place.layout.root, random, wait)),
        *(Fault(f"clock of {name} jumps", _jumper(clock), 2) for name, clock in place.clocks.items()),
        Fault("upgrade the second server", lambda random, wait: _replace(place.server)),
        Fault("end an agent", lambda random, wait: _replace(random.choice(place.agents))),
        Fault("drain an agent", lambda random, wait: _replace(random.choice(place.agents), DRAIN)),
        Fault("restart the installation", lambda random, wait: _restart(place)),
        Fault("kill the supervisor and start again", lambda random, wait: _kill_supervisor(place)),
    ]


def _of_agent(agent: Program) -> list[Fault]:
    def pid() -> int:
        found = agent.identity
        if found is None:
            raise FaultNotDone(f"{agent.name} does not run")
        return found.pid

    def past_lease(random: Random, wait: Wait) -> str:
        return pause(agent.identity, LEASE_SECONDS * random.uniform(1.2, 1.6), wait, agent.name)

    return [
        Fault(f"kill {agent.name}", lambda random, wait: kill(agent.identity, agent.name), 2),
        Fault(f"stop {agent.name} past its lease", past_lease),
        Fault(
            f"kill a job's process of {agent.name}",
            lambda random, wait: kill_one(job_processes(pid()), random, "job"),
            4,
        ),
        Fault(
            f"kill a helper of {agent.name}",
            lambda random, wait: kill_one(helper_processes(pid()), random, "helper"),
            2,
        ),
    ]


def _of_proxy(where: str, proxy: Proxy, *, repeats: bool) -> list[Fault]:
    def cut(random: Random, wait: Wait) -> str:
        return f"{proxy.cut()} connections between {where}"

    def away(random: Random, wait: Wait) -> str:
        return _troubled(proxy, Trouble(refuse=True, random=random), random.uniform(0.5, 3.0), wait, cut=True)

    def slow(random: Random, wait: Wait) -> str:
        return _troubled(proxy, Trouble(delay_seconds=random.uniform(0.05, 0.5), random=random), 3.0, wait)

    def half(random: Random, wait: Wait) -> str:
        return _troubled(proxy, Trouble(cut_within=random.uniform(0.1, 0.5), random=random), 3.0, wait)

    def again(random: Random, wait: Wait) -> str:
        before = proxy.repeated
        _troubled(proxy, Trouble(repeat=random.uniform(0.3, 1.0), random=random), 3.0, wait)
        return f"{proxy.repeated - before} requests twice"

    found = [
        Fault(f"cut {where}", cut, 2),
        Fault(f"no way between {where}", away, 2),
        Fault(f"slow way between {where}", slow, 2),
        Fault(f"half-delivered between {where}", half, 2),
    ]
    return [*found, Fault(f"delivered twice between {where}", again, 2)] if repeats else found


def _troubled(proxy: Proxy, trouble: Trouble, seconds: float, wait: Wait, *, cut: bool = False) -> str:
    proxy.trouble = trouble
    try:
        if cut:
            proxy.cut()
        wait(seconds)
    finally:
        proxy.trouble = Trouble()
    return f"for {seconds:.1f} s"


def _jumper(clock: Clock) -> Callable[[Random, Wait], str]:
    def jump(random: Random, wait: Wait) -> str:
        """Further than a lease lasts, in either direction, and back."""
        seconds = random.choice((-1, 1)) * random.uniform(2, 15) * LEASE_SECONDS
        with clock.moved(seconds):
            wait(random.uniform(2.0, 6.0))
        return f"by {seconds:+.0f} s"

    return jump


def _pause(program: Program, random: Random, wait: Wait) -> str:
    return pause(program.identity, random.uniform(0.2, 2.0), wait, program.name)


def _fill(directory: Path, random: Random, wait: Wait) -> str:
    """Take all that is free, and give it back after some seconds."""
    file, seconds = directory / "filler", random.uniform(1.0, 4.0)
    free = os.statvfs(directory)
    size = free.f_bavail * free.f_frsize - _SPARE_BYTES
    try:
        with file.open("wb") as filler:
            os.posix_fallocate(filler.fileno(), 0, max(1, size))
        wait(seconds)
    except OSError as error:
        raise FaultNotDone(f"{directory} is full already: {error}") from error
    finally:
        file.unlink(missing_ok=True)
    return f"{directory.name}, {size >> 20} MiB for {seconds:.1f} s"


def _replace(program: Program, number: signal.Signals = signal.SIGTERM) -> str:
    """End it in order, as an upgrade or a drain does; a new one takes its place at once."""
    began = time.monotonic()
    if program.identity is None:
        raise FaultNotDone(f"{program.name} does not run")
    gently = program.end_gently(number)
    return (
        f"{program.name} {'ended' if gently else 'HAD TO BE KILLED'} after {time.monotonic() - began:.1f} s"
    )


def _restart(place: Place) -> str:
    return _timed(place, lambda: _stop_supervisor(place))


def _kill_supervisor(place: Place) -> str:
    return _timed(place, lambda: kill(part_process(place.layout, "supervisor"), "supervisor"))


def _stop_supervisor(place: Place) -> str:
    return command(place.layout, "down", "--timeout", "60")


def _timed(place: Place, end: Callable[[], str]) -> str:
    began = time.monotonic()
    end()
    up(place.layout, place.ports["api"], reachable(place.ports, place.ledger))
    return f"back after {time.monotonic() - began:.1f} s"
