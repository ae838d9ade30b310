"""Being one of the few that are served at a time, and letting another one in while there is nothing to do but wait."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Protocol


class Turn(Protocol):
    def leave(self) -> None:
        """Give the place away."""

    async def come_back(self) -> None:
        """Take one again, before those who wait for their first."""


CURRENT: ContextVar[Turn | None] = ContextVar("turn", default=None)
"""Of the request that is being served, where there are turns."""


@asynccontextmanager
async def outside() -> AsyncIterator[None]:
    """Wait in here for what others do: time, another service."""
    turn = CURRENT.get()
    if turn is None:
        yield
        return
    turn.leave()
    try:
        yield
    finally:
        await turn.come_back()
