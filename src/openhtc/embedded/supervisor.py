"""Runs a set of parts in stages and stops them in the opposite order."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from openhtc.embedded.events import Listener
from openhtc.embedded.part import Part
from openhtc.embedded.supervised import SupervisedPart


class Supervisor:
    """The parts of one installation, in the order in which they were started.

    ``run`` is the directory of the run records; see child.py. Use it from the main thread: children are told
    of the end of the thread that started them.
    """

    def __init__(self, run: Path, listener: Listener) -> None:
        self._run = run
        self._listener = listener
        self._started: list[list[SupervisedPart]] = []
        self._hurry = asyncio.Event()

    def end_leftovers(self, parts: Sequence[Part]) -> None:
        """End what a supervisor that was killed left behind."""
        for part in parts:
            self._supervised(part).end_leftover()

    async def start_together(self, *parts: Part) -> None:
        """Start the parts at the same time and return when all are ready.

        Raises the first error; ``stop`` still ends everything that was started.
        """
        stage = [self._supervised(part) for part in parts]
        self._started.append(stage)
        starts = [asyncio.create_task(supervised.start()) for supervised in stage]
        try:
            await asyncio.gather(*starts)
        finally:
            for start in starts:
                start.cancel()
            await asyncio.wait(starts)

    async def stop(self) -> None:
        """Stop the last stage first; within a stage all at the same time."""
        while self._started:
            stage = self._started.pop()
            await asyncio.gather(*(supervised.stop(self._hurry) for supervised in stage))

    def hurry(self) -> None:
        """Make a stop that is under way, or will come, wait a second at most for each part."""
        self._hurry.set()

    def pid_of(self, name: str) -> int | None:
        """The pid of the part's program, None when it does not run."""
        for supervised in (each for stage in self._started for each in stage):
            if supervised.part.name == name:
                return supervised.pid
        return None

    def _supervised(self, part: Part) -> SupervisedPart:
        return SupervisedPart(part, self._run / f"{part.name}.json", self._listener)


@asynccontextmanager
async def running(run: Path, *parts: Part) -> AsyncIterator[None]:
    """Keep a few parts running while inside, with their records in the directory ``run``."""
    supervisor = Supervisor(run, lambda _: None)
    supervisor.end_leftovers(parts)
    try:
        await supervisor.start_together(*parts)
        yield
    finally:
        await supervisor.stop()
