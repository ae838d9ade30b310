"""A TCP relay on loopback that can be made to cut, delay, half-deliver and repeat what goes through it."""

import asyncio
import contextlib
import re
import threading
from collections.abc import Coroutine
from dataclasses import dataclass, field
from random import Random
from typing import Any

from openhtc.embedded.ports import LOOPBACK

_PIECE = 1 << 16
_REQUEST = re.compile(rb"^POST /agent/v1/(?:report|lease) .*?\r\n\r\n", re.DOTALL)
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass
class Trouble:
    """What happens to traffic at the moment. Probabilities are for each piece or request."""

    refuse: bool = False
    delay_seconds: float = 0.0
    cut_within: float = 0.0
    """Probability that a piece is delivered in half, and its connection cut."""
    repeat: float = 0.0
    """Probability that an agent's request is delivered a second time."""
    random: Random = field(default_factory=Random)


class Proxy:
    """Runs in a thread of its own."""

    def __init__(self, port: int, upstream: int) -> None:
        self.port, self.upstream = port, upstream
        self.trouble = Trouble()
        self.repeated = 0
        self._loop = asyncio.new_event_loop()
        self._writers: set[asyncio.StreamWriter] = set()
        self._thread = threading.Thread(target=self._run, name=f"proxy {port}", daemon=True)
        self._thread.start()

    def cut(self) -> int:
        """Reset every connection; how many that were."""

        async def work() -> int:
            writers = list(self._writers)
            for writer in writers:
                writer.transport.abort()
            return len(writers) // 2

        return self._do(work())

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def _do(self, work: Coroutine[Any, Any, int]) -> int:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(asyncio.start_server(self._accept, LOOPBACK, self.port))
        self._loop.run_forever()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.trouble.refuse:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection(LOOPBACK, self.upstream)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, far_writer}
        try:
            await asyncio.gather(
                self._relay(reader, far_writer, forwards=True),
                self._relay(far_reader, writer, forwards=False),
            )
        finally:
            self._writers -= {writer, far_writer}

    async def _relay(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, forwards: bool
    ) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while piece := await reader.read(_PIECE):
                trouble = self.trouble
                if trouble.delay_seconds:
                    await asyncio.sleep(trouble.delay_seconds * trouble.random.uniform(0.2, 1.8))
                if trouble.random.random() < trouble.cut_within:
                    writer.write(piece[: len(piece) // 2])
                    await writer.drain()
                    break
                writer.write(piece)
                await writer.drain()
                if forwards and trouble.random.random() < trouble.repeat:
                    await self._repeat(piece)
        writer.transport.abort() if self.trouble.cut_within else writer.close()

    async def _repeat(self, piece: bytes) -> None:
        """Deliver a whole request again, over a connection of its own; nobody hears the answer."""
        head = _REQUEST.match(piece)
        length = _LENGTH.search(head.group()) if head is not None else None
        if head is None or length is None or len(piece) != head.end() + int(length.group(1)):
            return
        self.repeated += 1
        with contextlib.suppress(OSError, TimeoutError):
            reader, writer = await asyncio.open_connection(LOOPBACK, self.upstream)
            writer.write(piece)
            await writer.drain()
            await asyncio.wait_for(reader.read(_PIECE), 1.0)
            writer.close()
