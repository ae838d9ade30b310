"""Runs the periodic duties in the one server that leads."""

import asyncio
import contextlib
import random
from collections.abc import Mapping, Sequence
from typing import Protocol

import structlog

from openhtc.domain.errors import Unavailable
from openhtc.storage.leader import Leadership, lead

_TRY_AGAIN_SECONDS = 3.0
_CONFIRM_SECONDS = 1.0

log = structlog.get_logger(__name__)


class Duty(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def every_seconds(self) -> float: ...

    async def run_once(self) -> int:
        """How much there was to do."""


class Keeper:
    """``woken`` are events, by the name of a duty, that make it due at once; the duty's turn clears them.

    ``first_after`` says, by the same name, for how many seconds the keeper must have led, the database being there all
    the time, before the duty has its first turn.

    ``everywhere`` are duties that this server does whether it leads or not.
    """

    def __init__(
        self,
        database_url: str,
        duties: Sequence[Duty],
        woken: Mapping[str, asyncio.Event] | None = None,
        first_after: Mapping[str, float] | None = None,
        everywhere: Sequence[Duty] = (),
    ) -> None:
        self._url = database_url
        self._duties = duties
        self._woken = woken or {}
        self._first_after = first_after or {}
        self._everywhere = everywhere
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._run(), name="keeper")]
        self._tasks += (asyncio.create_task(self._repeat(duty), name=duty.name) for duty in self._everywhere)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                async with lead(self._url) as leadership:
                    if leadership is not None:
                        log.info("keeper_elected")
                        await self._lead(leadership)
            except* Unavailable as errors:
                log.warning("keeper_interrupted", error=str(errors.exceptions[0]))
            except* Exception:  # loop border: without a keeper no lease would ever expire again
                log.exception("keeper_failed")
            await asyncio.sleep(_TRY_AGAIN_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311 - only spreads retries

    async def _lead(self, leadership: Leadership) -> None:
        """Every duty has a turn of its own, so that a long one delays no other. Ends when leadership is lost."""
        async with asyncio.TaskGroup() as group:
            group.create_task(_confirm(leadership))
            for duty in self._duties:
                group.create_task(self._repeat(duty), name=duty.name)

    async def _repeat(self, duty: Duty) -> None:
        woken = self._woken.get(duty.name) or asyncio.Event()
        await asyncio.sleep(self._first_after.get(duty.name, 0.0))
        while True:
            woken.clear()
            await self._run_duty(duty)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(woken.wait(), duty.every_seconds)

    async def _run_duty(self, duty: Duty) -> None:
        try:
            done = await duty.run_once()
        except Unavailable as error:
            log.warning("duty_postponed", duty=duty.name, error=error.message)
        except Exception:
            log.exception("duty_failed", duty=duty.name)
        else:
            if done:
                log.info("duty_done", duty=duty.name, items=done)


async def _confirm(leadership: Leadership) -> None:
    while True:
        await leadership.confirm()
        await asyncio.sleep(_CONFIRM_SECONDS)
