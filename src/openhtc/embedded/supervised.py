"""Keeps one part running: start, wait until it is ready, start again when it ends, stop."""

import asyncio
import time
from pathlib import Path

from openhtc.domain.errors import SettingsError
from openhtc.embedded.child import Child, end_leftover, last_lines, spawn
from openhtc.embedded.events import Event, Happening, Listener
from openhtc.embedded.part import Part
from openhtc.embedded.ports import require_free
from openhtc.lifecycle.backoff import Backoff

FIRST_START_TRIES = 3
POLL_SECONDS = 0.1


class PartFailedError(SettingsError):
    """A part does not start; the message holds the end of its log."""

    def __init__(self, part: Part, reason: str) -> None:
        tail = "".join(f"\n  {line}" for line in last_lines(part.log))
        where = f"; the end of {part.log}:{tail}" if tail else ""
        super().__init__(f"{part.name} does not start: {reason}{where}")
        self.part = part.name


class SupervisedPart:
    """One part and its child. Not thread-safe: use from the loop of the main thread."""

    def __init__(self, part: Part, record: Path, listener: Listener) -> None:
        self.part = part
        self._record = record
        self._listener = listener
        self._child: Child | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._backoff = Backoff()

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child is not None else None

    def end_leftover(self) -> None:
        if end_leftover(self._record):
            self._tell(Happening.LEFTOVER_ENDED)
        self.part.tidy()

    async def start(self) -> None:
        """Return when the part is ready; it is kept running from then on.

        Raises SettingsError when it cannot be started and PartFailedError when it ends or stays unready.
        """
        self.part.prepare()
        require_free(self.part.name, self.part.ports)
        began = time.monotonic()
        for last in (False,) * (FIRST_START_TRIES - 1) + (True,):
            wrong = await self._launch()
            if wrong is None:
                break
            if last or wrong.final:
                raise PartFailedError(self.part, wrong.reason)
            await asyncio.sleep(self._backoff.delay_after(0))
        self._tell_ready(began)
        self._keeper = asyncio.create_task(self._keep(), name=f"keep {self.part.name}")

    async def stop(self, hurry: asyncio.Event) -> None:
        """End the part in its own way, each step bounded; nothing happens when it does not run."""
        self._stopping.set()
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait({self._keeper})
        if self._child is None:
            return
        self._tell(Happening.STOPPING)
        began = time.monotonic()
        await self._child.stop(self.part, hurry)
        self._child = None
        self._record.unlink(missing_ok=True)
        self.part.tidy()
        self._tell(Happening.STOPPED, seconds=time.monotonic() - began)

    async def _launch(self) -> "_NotReady | None":
        """Start the program and wait until it is ready; None when it is, or was told to stay down meanwhile."""
        self._child = await spawn(self.part, self._record)
        self._tell(Happening.STARTING)
        deadline = time.monotonic() + self.part.start_seconds
        ended = asyncio.ensure_future(self._child.wait())
        wrong: str | None = "not asked yet"
        try:
            while time.monotonic() < deadline:
                wrong = await self.part.ready()
                if ended.done():
                    if ended.result() in self.part.stays_down:
                        return None  # the keeper finds it so
                    return _NotReady(_how_it_ended(ended.result()), final=False)
                if wrong is None:
                    return None
                await asyncio.wait({ended}, timeout=POLL_SECONDS)
        finally:
            ended.cancel()
        await self._child.stop(self.part, self._stopping)
        return _NotReady(f"not ready after {self.part.start_seconds:.0f} s: {wrong}", final=True)

    async def _keep(self) -> None:
        """Start the part again whenever it ends, until somebody wants it to stay down."""
        while True:
            assert self._child is not None
            code = await self._child.wait()
            lasted = time.monotonic() - self._child.began
            await self._child.stop(self.part, self._stopping)  # what it left of its session
            if code in self.part.stays_down:
                self._tell(Happening.STOPPED, text="it was drained", seconds=lasted)
                return
            self._tell(Happening.DIED, text=_how_it_ended(code), seconds=lasted)
            await asyncio.sleep(self._backoff.delay_after(lasted))
            while not await self._start_again():  # noqa: ASYNC110 (waits to try, not to see)
                await asyncio.sleep(self._backoff.delay_after(0))

    async def _start_again(self) -> bool:
        """One try to start the part again; whatever goes wrong leaves no program behind, so it can be repeated."""
        began = time.monotonic()
        try:
            self.part.prepare()
            wrong = await self._launch()
        except Exception as error:  # noqa: BLE001 (a full disk or process table passes, and the next try succeeds)
            if self._child is not None:
                await self._child.end_at_once()
            self._tell(Happening.START_FAILED, text=f"{type(error).__name__}: {error}")
            return False
        if wrong is not None:
            self._tell(Happening.START_FAILED, text=wrong.reason)
            return False
        self._tell_ready(began)
        return True

    def _tell_ready(self, began: float) -> None:
        if self._child is not None and not self._child.ended:
            self._tell(Happening.READY, seconds=time.monotonic() - began)

    def _tell(self, happening: Happening, *, text: str = "", seconds: float = 0.0) -> None:
        self._listener(
            Event(
                happening=happening,
                part=self.part.name,
                address=self.part.address,
                pid=self.pid,
                text=text,
                seconds=round(seconds, 3),
            )
        )


class _NotReady:
    """Why a start did not lead to a working part; ``final`` when another try would not help."""

    def __init__(self, reason: str, *, final: bool) -> None:
        self.reason = reason
        self.final = final


def _how_it_ended(code: int) -> str:
    return f"it was ended by signal {-code}" if code < 0 else f"it ended with exit code {code}"
