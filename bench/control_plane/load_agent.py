"""Agents that speak only the protocol: they lease, say that jobs started and ended, and start nothing."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from bench.control_plane.workplace import REGION, Workplace
from openhtc.agent.session import Session
from openhtc.agent.wire import Wire
from openhtc.domain.enums import Outcome
from openhtc.domain.work import AgentHello, Capacity, JobReport, LeaseRequest, Report, ReportAnswer, Usage

WAIT_SECONDS = 1.0
"""How long a request for work waits; the last ones of a drain wait in vain, after the last end was told."""
CAPACITY = Capacity(vcpus=100_000, memory_mib=2**30, disk_gib=2**30)

ReportStyle = Literal["apart", "together"]
"""Whether the start and the end of a job go in two reports, as of jobs of some length, or in one, as of short ones."""


class LeasedJob(msgspec.Struct, frozen=True):
    """What this agent reads of a JobLease: the rest is skipped, so that the load costs little."""

    lease: int
    batch: int
    index: int


class Leased(msgspec.Struct, frozen=True):
    jobs: list[LeasedJob]


class LoadAgent:
    """One session. Not for several threads at once."""

    def __init__(self, place: Workplace, name: str) -> None:
        self._wire = Wire(place.stack.agents_origin, "openhtc-bench")
        hello = AgentHello(
            name=name,
            regions=[REGION],
            capacity=CAPACITY,
            architecture="X86",
            runtime="none",
            version="bench",
            provider="bench",
            machine_type="bench",
        )
        self.session = Session(self._wire, hello, place.agent_key)
        self.session.open()

    def close(self) -> None:
        self._wire.close()

    def lease(self, most: int, wait_seconds: float = WAIT_SECONDS) -> list[LeasedJob]:
        request = LeaseRequest(free=CAPACITY, max_jobs=most, wait_seconds=wait_seconds)
        return self.session.post("lease", request, Leased, wait_seconds=wait_seconds).jobs

    def report(self, news: Report) -> None:
        """Raises AssertionError when the server does not know a lease: then the figures mean nothing."""
        answer = self.session.post("report", news, ReportAnswer)
        assert not answer.gone, f"{len(answer.gone)} leases are not live any more"

    def run(self, jobs: Sequence[LeasedJob], style: ReportStyle) -> None:
        """Tell that the jobs ran and succeeded, within about a millisecond."""
        started = now_micros()
        if style == "apart":
            self.report(Report(jobs=[start_of(job, started) for job in jobs]))
        self.report(Report(jobs=[end_of(job, started, started + 1000) for job in jobs]))


def now_micros() -> int:
    return time.time_ns() // 1000


def start_of(job: LeasedJob, started_at: int) -> JobReport:
    return JobReport(job.lease, job.batch, job.index, started_at=started_at)


def end_of(job: LeasedJob, started_at: int, ended_at: int, exit_code: int = 0) -> JobReport:
    return JobReport(
        job.lease,
        job.batch,
        job.index,
        started_at=started_at,
        ended_at=ended_at,
        outcome=Outcome.EXITED,
        exit_code=exit_code,
        usage=Usage(cpu_ms=1, max_memory_mib=2),
    )


@dataclass
class Drain:
    """How far agents are together; thread-safe."""

    jobs: int
    on_progress: Callable[[int], None]
    taken: int = 0
    ended: int = 0
    last_end: float = 0.0
    errors: list[BaseException] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, most: int) -> int:
        """How many jobs an agent may lease now: so a drain stops at its number where more is queued."""
        with self.lock:
            share = 0 if self.errors else min(most, self.jobs - self.taken)
            self.taken += share
            return share

    def done(self, ended: int, not_leased: int) -> None:
        with self.lock:
            self.taken -= not_leased
            self.ended += ended
            if ended:
                self.last_end = time.monotonic()
        self.on_progress(self.ended)

    def work(self, agent: LoadAgent, bundle: int, style: ReportStyle) -> None:
        """Lease and run until all is taken. What goes wrong ends the other agents too."""
        try:
            while share := self.take(bundle):
                jobs = agent.lease(share)
                if jobs:
                    agent.run(jobs, style)
                self.done(len(jobs), share - len(jobs))
        except BaseException as error:  # noqa: BLE001 (handed to the thread that waits)
            self.errors.append(error)


def drain(
    agents: Sequence[LoadAgent],
    jobs: int,
    bundle: int,
    style: ReportStyle,
    on_progress: Callable[[int], None] = lambda ended: None,
) -> float:
    """Seconds from the first request for work to the answer to the last end, all agents working at once.

    At least ``jobs`` must be queued. Raises what went wrong for an agent.
    """
    course = Drain(jobs, on_progress)
    threads = [
        threading.Thread(target=course.work, args=(agent, bundle, style), name=f"agent {number}")
        for number, agent in enumerate(agents)
    ]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if course.errors:
        raise course.errors[0]
    return course.last_end - began
