"""How long the API takes to accept very many jobs, and what that costs in memory and on disk."""

import time
from argparse import ArgumentParser, Namespace

from bench.control_plane.measure import CpuMeter, MemoryMeter, growth_per_job, sizes
from bench.control_plane.workplace import Workplace
from openhtc.bench.figures import Figures, Say, milliseconds
from openhtc.domain.enums import JobStatus

HELP = "a million jobs in ten requests: time, memory, bytes"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--jobs", type=int, default=1_000_000, help="jobs in all, 100,000 in one request")


def run(place: Workplace, options: Namespace, say: Say) -> Figures:
    # A first small one, so that no figure holds the server's first use of anything.
    place.submit(place.new_task("warm up"), 1000)
    task = place.new_task("accept")
    before = sizes(place.stack)
    memory, cpu = MemoryMeter(place.stack, "server"), CpuMeter(place.stack)
    requests: list[float] = []
    left = options.jobs
    while left > 0:
        share = min(left, 100_000)
        began = time.monotonic()
        place.submit(task, share)
        requests.append(time.monotonic() - began)
        left -= share
        say(f"{options.jobs - left} jobs accepted, the last {share} in {requests[-1]:.2f} s")
    used, peak, after = cpu.seconds(), memory.peak(), memory.now()
    place.verify(task, {JobStatus.RUNNABLE: options.jobs})
    return {
        "jobs": options.jobs,
        "seconds": round(sum(requests), 3),
        "jobs_per_second": round(options.jobs / sum(requests)),
        "requests": milliseconds(requests),
        "server_mib": {
            "before": memory.before,
            "peak": peak,
            "after": after,
            "growth": round(peak - memory.before, 1),
        },
        "cpu_seconds": dict(used),
        "bytes_per_job": growth_per_job(before, sizes(place.stack), options.jobs),
    }
