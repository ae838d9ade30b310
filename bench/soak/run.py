"""The soak: very many jobs of every kind, everything sampled, everything checked."""

import argparse
import asyncio
import os
import signal
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from bench.control_plane.stack import PARTS
from bench.soak.parts import wait_until
from bench.soak.place import Place, batch
from bench.soak.plot import write_plot
from bench.soak.samples import Sample, Sampler, growth_mib, rate_between
from bench.soak.verify import Findings, Workload, verify
from bench.soak.workload import BATCH_SIZE, KINDS, MAX_RETRIES, TIMEOUT_SECONDS
from openhtc.bench.figures import Figures, Say

HELP = "jobs of every kind: throughput and memory over time, and every job checked"
BATCHES = 100
"""In one request."""
STUCK_SECONDS = 300
MIN_SECONDS, MAX_SECONDS = 2.0, 10.0
AGENT_MIB = 150
LAST_TENTH = (0.89, 0.99)
"""The very last jobs are those that take longest; their wait is no throughput."""
SECOND_TENTH = (0.1, 0.2)
LEAST_RATIO = 0.9
TENTH_SECONDS = 10.0
"""A tenth that takes less is too short to be judged: jobs of a second and a sample's pause show in it."""
MOST_GROWTH_MIB = 50
_KIND_BY_NAME = {kind.name: kind for kind in KINDS}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--jobs", type=int, default=int(os.environ.get("SOAK_JOBS", "1000000")))
    parser.add_argument("--seed", type=int, default=4)
    parser.add_argument(
        "--only", choices=[kind.name for kind in KINDS], help="every job is of this kind; default: a mix"
    )
    parser.add_argument("--logs", type=int, default=50, help="logs of each kind to read; default %(default)s")
    parser.add_argument("--samples", type=Path, default=Path("soak.jsonl"), help="default %(default)s")
    parser.add_argument("--plot", type=Path, default=Path("docs/soak.png"), help="default %(default)s")


def run(place: Place, options: argparse.Namespace, say: Say) -> Figures:
    return asyncio.run(_run(place, options, say))


async def _run(place: Place, options: argparse.Namespace, say: Say) -> Figures:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop.set)
    workload = Workload(options.seed, options.jobs, [], _KIND_BY_NAME.get(options.only))
    with options.samples.open("w", encoding="utf-8") as file:
        sampler = Sampler(place, file)
        submitting = asyncio.create_task(asyncio.to_thread(_submit, place, workload, stop))
        early = await _watch(sampler, workload.jobs, submitting, stop, say)
    asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)
    if early is not None:
        stop.set()
        await asyncio.wait([submitting])
        say(f"{early}; cancelling what is left")
        _cancel(place)
    submitted = replace(workload, jobs=place.summary().total)
    found = Findings(problems=[early] if early is not None else [])
    judge(sampler.samples, options.jobs, early is None, found)
    await verify(place, submitted, found, complete=early is None, logs_of_each=options.logs, say=say)
    if len(sampler.samples) > 2:
        write_plot(sampler.samples, f"{submitted.jobs:,} jobs of every kind", options.plot)
        say(f"wrote {options.plot} and {options.samples}")
    return _report(sampler.samples, submitted, found)


def _submit(place: Place, workload: Workload, stop: asyncio.Event) -> None:
    sizes = [min(BATCH_SIZE, workload.jobs - begin) for begin in range(0, workload.jobs, BATCH_SIZE)]
    for begin in range(0, len(sizes), BATCHES):
        if stop.is_set():
            return
        batches = [
            batch(
                *workload.words(begin + n),
                size=size,
                retries=MAX_RETRIES,
                timeout_seconds=TIMEOUT_SECONDS,
            )
            for n, size in enumerate(sizes[begin : begin + BATCHES])
        ]
        workload.batches.extend(place.submit(batches))


async def _watch(
    sampler: Sampler, jobs: int, submitting: asyncio.Task[None], stop: asyncio.Event, say: Say
) -> str | None:
    """None when every job has ended; otherwise why this ends before."""
    pause = min(MAX_SECONDS, max(MIN_SECONDS, jobs / 50_000))
    moved_at, before = time.monotonic(), await sampler.take()
    while before.ended < jobs:
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), pause)
            return "interrupted"
        if submitting.done() and (error := submitting.exception()) is not None:
            return f"the jobs could not be submitted: {error}"
        now = await sampler.take()
        say(_progress(before, now, jobs))
        if now.ended > before.ended:
            moved_at = time.monotonic()
        elif time.monotonic() - moved_at > STUCK_SECONDS:
            return f"no job has ended for {STUCK_SECONDS} s"
        before = now
    return None


def _progress(before: Sample, now: Sample, jobs: int) -> str:
    rate = (now.ended - before.ended) / max(now.seconds - before.seconds, 1e-9)
    left = (jobs - now.ended) * now.seconds / max(now.ended, 1) / 60
    memory = ", ".join(f"{part} {now.memory_mib[part]:.0f}" for part in PARTS)
    return (
        f"{now.ended} of {jobs} jobs, {rate:.0f}/s, {left:.0f} min left; MiB: {memory};"
        f" MB: database {now.database_bytes / 1e6:.0f}, disk {now.disk_bytes / 1e6:.0f}"
    )


def _cancel(place: Place) -> None:
    """Raises TimeoutError when jobs go on."""
    place.client.cancel(place.project_id, place.task_id)
    wait_until(lambda: place.summary().unfinished == 0, STUCK_SECONDS, 0.5)


def judge(samples: list[Sample], jobs: int, complete: bool, found: Findings) -> None:
    peak = max((each.memory_mib["agent"] for each in samples), default=0.0)
    if peak > AGENT_MIB:
        found.add(f"the agent took {peak:.0f} MiB, more than {AGENT_MIB}")
    for part in ("server", "agent-server", "agent"):
        if (grown := growth_mib(samples, jobs, part)) > MOST_GROWTH_MIB:
            found.add(f"the memory of the {part} grew by {grown:.0f} MiB")
    if not complete or _tenth_seconds(samples, jobs) < TENTH_SECONDS:
        return
    if (ratio := _decay(samples, jobs)) < LEAST_RATIO:
        found.add(f"the last tenth ran at {ratio:.2f} of the second tenth's rate")


def _tenth_seconds(samples: list[Sample], jobs: int) -> float:
    rate = rate_between(samples, jobs, *SECOND_TENTH)
    return jobs / 10 / rate if rate else 0.0


def _decay(samples: list[Sample], jobs: int) -> float:
    second = rate_between(samples, jobs, *SECOND_TENTH)
    return rate_between(samples, jobs, *LAST_TENTH) / second if second else 0.0


def _report(samples: list[Sample], workload: Workload, found: Findings) -> Figures:
    first, last = samples[0], samples[-1]
    jobs, seconds = max(workload.jobs, 1), max(last.seconds, 1e-9)
    return {
        "jobs": workload.jobs,
        "ended_by_themselves": sum(found.by_kind.values()),
        "seconds": round(seconds, 1),
        "jobs_per_second": round(rate_between(samples, jobs, 0, LAST_TENTH[1]) or last.ended / seconds, 1),
        "second_tenth_per_second": round(rate_between(samples, jobs, *SECOND_TENTH), 1),
        "last_tenth_per_second": round(rate_between(samples, jobs, *LAST_TENTH), 1),
        "last_to_second_tenth": round(_decay(samples, jobs), 3),
        "memory_peak_mib": {part: max(each.memory_mib[part] for each in samples) for part in PARTS},
        "memory_growth_mib": {part: round(growth_mib(samples, jobs, part), 1) for part in PARTS},
        "cpu_ms_per_job": {
            part: round((last.cpu_seconds[part] - first.cpu_seconds[part]) * 1e3 / max(last.ended, 1), 3)
            for part in PARTS
        },
        "database_bytes_per_job": round((last.database_bytes - first.database_bytes) / jobs, 1),
        "disk_mb": round((last.disk_bytes - first.disk_bytes) / 1e6, 1),
        "kinds": dict(found.by_kind),
        "attempts_tried_again": found.attempts_kept,
        "lines_kept": found.lines_kept,
        "logs_read": found.logs_read,
        "lines_read": found.lines_read,
        "problems": found.problems,
    }
