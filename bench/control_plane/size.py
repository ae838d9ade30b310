"""What a finished job takes in the database, by relation, after it was leased, started and ended."""

import asyncio
import time
from argparse import ArgumentParser, Namespace

import asyncpg

from bench.control_plane.measure import growth_per_job, sizes
from bench.control_plane.rate import add_load_arguments, load_of
from bench.control_plane.stack import Stack
from bench.control_plane.turns import load_agents, measured_drain
from bench.control_plane.workplace import Workplace
from openhtc.bench.figures import Figures, Say
from openhtc.domain.enums import JobStatus

HELP = "bytes in the database for each finished job, by relation"

_DEAD = "SELECT coalesce(sum(n_dead_tup), 0)::bigint FROM pg_stat_user_tables WHERE relname = 'jobs'"
_SETTLE_SECONDS = 60.0


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--jobs", type=int, default=100_000, help="jobs to finish")
    add_load_arguments(parser)


def run(place: Workplace, options: Namespace, say: Say) -> Figures:
    before = sizes(place.stack)
    task = place.new_task("size")
    place.submit(task, options.jobs)
    queued = sizes(place.stack)
    load = load_of(options)
    with load_agents(place, load.agents) as agents:
        turn = measured_drain(place, agents, options.jobs, load, say)
    place.verify(task, {JobStatus.SUCCEEDED: options.jobs})
    finished = sizes(place.stack)
    say("waiting for autovacuum")
    dead = settle(place.stack)
    return {
        "jobs": options.jobs,
        "style": load.style,
        "jobs_per_second": round(turn.rate),
        "queued": growth_per_job(before, queued, options.jobs),
        "finished": growth_per_job(before, finished, options.jobs),
        "settled": growth_per_job(before, sizes(place.stack), options.jobs),
        "dead_rows_left": dead,
    }


def settle(stack: Stack) -> int:
    """Give autovacuum its time, which may shorten nothing; the versions of job rows that are still dead then."""
    deadline = time.monotonic() + _SETTLE_SECONDS
    while (dead := asyncio.run(_dead_rows(stack))) > 0 and time.monotonic() < deadline:
        time.sleep(2)
    return dead


async def _dead_rows(stack: Stack) -> int:
    connection = await asyncpg.connect(stack.database_url)
    try:
        return int(await connection.fetchval(_DEAD))
    finally:
        await connection.close()
