"""What becomes of the service when users ask ten times as much as it can answer, while jobs run."""

import asyncio
import resource
import time
from argparse import ArgumentParser, Namespace
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from urllib.parse import urlsplit

from bench.control_plane.load_agent import LoadAgent
from bench.control_plane.paced import PacedAgent
from bench.control_plane.turns import load_agents
from bench.control_plane.workplace import Workplace
from openhtc.bench.figures import Figures, Say, percentile

HELP = "answers and jobs a second at half to ten times the rate of requests that can be served"
FACTORS = (0.5, 1.0, 2.0, 5.0, 10.0)
CONNECTIONS = 16
_CALM_SECONDS = 2.0
_GIVEN_UP_SECONDS = 20.0
"""How long a client waits for an answer."""


@dataclass
class Flood:
    """What came of the requests of one rate."""

    answered: Counter[str] = field(default_factory=Counter)
    """By status, ``gone`` for those that nobody waited for."""
    seconds: list[float] = field(default_factory=list)
    """Of each request that was served."""
    served_meanwhile: int = 0
    """While requests were still being made."""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--jobs", type=int, default=200_000, help="jobs to store")
    parser.add_argument("--rate", type=float, default=300, help="jobs a second that run meanwhile")
    parser.add_argument("--seconds", type=float, default=10, help="of each rate")
    parser.add_argument("--plot", type=Path, help="a PNG of the curve; default: none")


def run(place: Workplace, options: Namespace, say: Say) -> Figures:
    task = place.new_task("overload")
    place.submit(task, options.jobs)
    path = f"/api/v1/htc/projects/{place.project_id}/tasks/{task}/jobs"
    words = (place.stack.origin, path, place.client.bearer_token())
    with load_agents(place, 1) as agents, ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        peak = pool.submit(_closed_loop, *words, options.seconds).result()
        say(
            f"{CONNECTIONS} clients, each with its next request after the answer: {peak:.0f} answers a second"
        )
        rows = [_measured(place, agents[0], pool, words, peak * factor, options, say) for factor in FACTORS]
        calm = pool.submit(_closed_loop, *words, options.seconds).result()
    say(f"afterwards {calm:.0f} answers a second")
    best = max(float(row["served_per_second"]) for row in rows)
    figures: Figures = {
        "clients_one_after_the_other_per_second": round(peak, 1),
        "afterwards_per_second": round(calm, 1),
        "goodput_at_ten_times_to_peak": round(float(rows[-1]["served_per_second"]) / best, 3),
        "jobs_at_ten_times_to_half": round(
            float(rows[-1]["jobs_per_second"]) / float(rows[0]["jobs_per_second"]), 3
        ),
        "rates": rows,
    }
    if options.plot is not None:
        _write_plot(rows, options.plot)
        say(f"wrote {options.plot}")
    return figures


def _measured(
    place: Workplace,
    agent: LoadAgent,
    pool: ProcessPoolExecutor,
    words: tuple[str, str, str],
    rate: float,
    options: Namespace,
    say: Say,
) -> dict[str, float]:
    with PacedAgent(agent, options.rate) as paced:
        time.sleep(_CALM_SECONDS)
        before, began = paced.ended, time.monotonic()
        asked = pool.submit(_open_loop, *words, rate, options.seconds)
        while not asked.done() and time.monotonic() - began < options.seconds:
            time.sleep(0.1)
        jobs = (paced.ended - before) / (time.monotonic() - began)
        flood = asked.result()
    row = {
        "asked_per_second": round(rate, 1),
        "served_per_second": round(flood.served_meanwhile / options.seconds, 1),
        "refused": flood.answered["503"],
        "given_up": flood.answered["gone"],
        "p50_ms": round(percentile(flood.seconds, 50) * 1e3, 1) if flood.seconds else 0.0,
        "p95_ms": round(percentile(flood.seconds, 95) * 1e3, 1) if flood.seconds else 0.0,
        "jobs_per_second": round(jobs, 1),
    }
    say(", ".join(f"{name} {value:g}" for name, value in row.items()))
    return row


# In a process of its own -----------------------------------------------------------------------------


def _closed_loop(origin: str, path: str, token: str, seconds: float) -> float:
    return asyncio.run(_one_after_the_other(origin, path, token, seconds))


def _open_loop(origin: str, path: str, token: str, rate: float, seconds: float) -> Flood:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard != resource.RLIM_INFINITY else soft, hard))
    return asyncio.run(_regardless(origin, path, token, rate, seconds))


async def _one_after_the_other(origin: str, path: str, token: str, seconds: float) -> float:
    until, served = time.monotonic() + seconds, 0

    async def client() -> None:
        nonlocal served
        while time.monotonic() < until:
            if await _ask(origin, path, token) == "200":
                served += 1

    await asyncio.gather(*(client() for _ in range(CONNECTIONS)))
    return served / seconds


async def _regardless(origin: str, path: str, token: str, rate: float, seconds: float) -> Flood:
    """Requests at a steady rate, whatever becomes of those before."""
    flood, began = Flood(), time.monotonic()
    tasks: set[asyncio.Task[None]] = set()

    async def one() -> None:
        at = time.monotonic()
        try:
            async with asyncio.timeout(_GIVEN_UP_SECONDS):
                status = await _ask(origin, path, token)
        except (TimeoutError, OSError, ValueError, IndexError):
            status = "gone"
        now = time.monotonic()
        flood.answered[status] += 1
        if status == "200":
            flood.seconds.append(now - at)
            flood.served_meanwhile += now - began < seconds

    made = 0
    while (passed := time.monotonic() - began) < seconds:
        while made < passed * rate:
            task = asyncio.create_task(one())
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            made += 1
        await asyncio.sleep(0.002)
    await asyncio.gather(*tasks)
    return flood


async def _ask(origin: str, path: str, token: str) -> str:
    """The status of the answer, read to its end, over a connection of its own."""
    where = urlsplit(origin)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    try:
        head = f"GET {path} HTTP/1.1\r\nHost: {where.netloc}\r\nAuthorization: Bearer {token}\r\n"
        writer.write(f"{head}Connection: close\r\n\r\n".encode())
        status = (await reader.readline()).split()[1].decode()
        while await reader.read(1 << 16):
            continue
        return status
    finally:
        writer.close()


def _write_plot(rows: list[dict[str, float]], file: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, (rates, delays) = pyplot.subplots(1, 2, figsize=(11, 4), layout="constrained")
    asked = [row["asked_per_second"] for row in rows]
    rates.plot(asked, [row["served_per_second"] for row in rows], "o-", label="answers a second")
    rates.plot(asked, [row["jobs_per_second"] for row in rows], "s-", label="jobs a second")
    rates.set(xlabel="requests a second", title="What is served", ylim=(0, None), xscale="log")
    rates.legend()
    delays.plot(asked, [row["p50_ms"] for row in rows], "o-", label="p50")
    delays.plot(asked, [row["p95_ms"] for row in rows], "s-", label="p95")
    delays.set(xlabel="requests a second", ylabel="ms", title="How long it takes", xscale="log", yscale="log")
    delays.legend()
    figure.savefig(file, dpi=110)
