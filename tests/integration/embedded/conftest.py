"""Parts of the embedded stack in directories and on ports of their own."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from openhtc.embedded.events import Event, Happening
from openhtc.embedded.options import UpOptions
from openhtc.embedded.part import Command, Part, child_environment, die_with_parent
from openhtc.embedded.ports import choose
from openhtc.embedded.stack import Stack


class Recorder:
    """A listener that remembers; tests wait for what they want to see."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._more = asyncio.Event()

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        self._more.set()

    def of(self, happening: Happening, part: str | None = None) -> list[Event]:
        return [event for event in self.events if event.happening is happening and part in (None, event.part)]

    async def wait_for(self, happening: Happening, part: str, count: int = 1, seconds: float = 60) -> Event:
        try:
            async with asyncio.timeout(seconds):
                while len(found := self.of(happening, part)) < count:
                    self._more.clear()
                    await self._more.wait()
        except TimeoutError:
            pytest.fail(f"no {count} {happening} of {part} in {seconds} s; seen: {self.events}")
        return found[count - 1]


class ProgramPart(Part):
    """A Python program as a part; ready when it has written the file that its argument names."""

    def __init__(self, directory: Path, program: str, name: str = "program") -> None:
        self.name = name
        self.address = str(directory / f"{name}.ready")
        self.log = directory / f"{name}.log"
        self.start_seconds = 20.0
        self._program = program

    def prepare(self) -> None:
        Path(self.address).unlink(missing_ok=True)

    def command(self) -> Command:
        args = (*die_with_parent(), sys.executable, "-c", self._program, self.address)
        return Command(args, child_environment(), Path("/"))

    async def check(self) -> str | None:
        return None if Path(self.address).exists() else "no file yet"


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
async def make_stack(tmp_path: Path, recorder: Recorder) -> AsyncIterator[Callable[..., Stack]]:
    """Stacks that are stopped at the end of the test; the same ``name`` means the same data directory."""
    made: list[Stack] = []

    def make(name: str = "data") -> Stack:
        made.append(Stack(UpOptions(data=tmp_path / name, port=choose(set())), recorder))
        return made[-1]

    yield make
    for stack in made:
        await stack.stop()


async def wait_until(what: Callable[[], Awaitable[str | None]], seconds: float = 60) -> None:
    """Wait until ``what`` answers None; it says what is still wrong otherwise."""
    wrong: str | None = "not asked"
    try:
        async with asyncio.timeout(seconds):
            while (wrong := await what()) is not None:
                await asyncio.sleep(0.05)
    except TimeoutError:
        pytest.fail(f"still wrong after {seconds} s: {wrong}")
