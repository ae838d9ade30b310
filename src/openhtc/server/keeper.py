"""Runs the periodic duties in the one server that leads."""

import asyncio
import contextlib
import random
from collections.abc import Sequence
from typing import Protocol

import structlog

from openhtc.domain.errors import Unavailable
from openhtc.storage.leader import Leadership, lead

_TRY_AGAIN_SECONDS = 3.0

log = structlog.get_logger(__name__)


class Duty(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def every_seconds(self) -> float: ...

    async def run_once(self) -> int:
        """How much there was to do."""


class Keeper:
    def __init__(self, database_url: str, duties: Sequence[Duty]) -> None:
        self._url = database_url
        self._duties = duties
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="keeper")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            try:
                async with lead(self._url) as leadership:
                    if leadership is not None:
                        log.info("keeper_elected")
                        await self._lead(leadership)
            except Unavailable as error:
                log.warning("keeper_interrupted", error=error.message)
            except Exception:  # loop border: without a keeper no lease would ever expire again
                log.exception("keeper_failed")
            await asyncio.sleep(_TRY_AGAIN_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311 - only spreads retries

    async def _lead(self, leadership: Leadership) -> None:
        due = dict.fromkeys((duty.name for duty in self._duties), 0.0)
        loop = asyncio.get_running_loop()
        while True:
            await leadership.confirm()
            for duty in self._duties:
                if loop.time() >= due[duty.name]:
                    await self._run_duty(duty)
                    due[duty.name] = loop.time() + duty.every_seconds
            await asyncio.sleep(max(min(due.values()) - loop.time(), 0.05))

    async def _run_duty(self, duty: Duty) -> None:
        try:
            done = await duty.run_once()
        except Exception:
            log.exception("duty_failed", duty=duty.name)
        else:
            if done:
                log.info("duty_done", duty=duty.name, items=done)
