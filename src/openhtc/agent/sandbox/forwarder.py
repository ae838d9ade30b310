"""Passing TCP connections from a slot's loopback to the few addresses of the host that jobs may reach.

One thread with one event loop serves all slots. Data is copied only as fast as the receiver takes it, each
direction closes on its own, and every slot has a limit on connections: at the limit new ones wait.
"""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog

log = structlog.get_logger(__name__)

_BACKLOG = 128
_HIGH_WATER = 64 * 1024
_CONNECT_SECONDS = 10.0
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Forward:
    """A loopback address inside every slot's network that leads to an address on the host."""

    host: str
    port: int
    to_host: str
    to_port: int


class _Side(asyncio.Protocol):
    """One end of a relayed connection; what arrives here leaves at ``other``."""

    def __init__(self, relay: "_Relay") -> None:
        self.relay = relay
        self.other: _Side | None = None
        self.transport: asyncio.Transport | None = None
        self.ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.set_write_buffer_limits(_HIGH_WATER)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.relay.busy = True
        if self.other is not None and self.other.transport is not None:
            self.other.transport.write(data)

    def eof_received(self) -> bool:
        self.ended = True
        other = self.other
        if other is not None and other.transport is not None and other.transport.can_write_eof():
            with contextlib.suppress(OSError):
                other.transport.write_eof()
            if other.ended:
                self.relay.close()
        return True  # keep our own direction open

    def pause_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            with contextlib.suppress(RuntimeError):
                self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.relay.lost(self, broken=exc is not None)


class _Relay:
    """A pair of connections, gone together."""

    def __init__(self, gate: "_Gate") -> None:
        self.gate = gate
        self.busy = True
        self.dropped = False
        self.near, self.far = _Side(self), _Side(self)

    async def run(self, accepted: socket.socket, forward: Forward) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                await loop.create_connection(lambda: self.far, forward.to_host, forward.to_port)
        except OSError as error:  # TimeoutError is one
            log.warning("forward_target_unreachable", port=forward.to_port, error=str(error))
            accepted.close()
            self.gate.remove(self)
            return
        self.near.other, self.far.other = self.far, self.near
        await loop.connect_accepted_socket(lambda: self.near, accepted)
        if self.dropped or self.far.transport is None or self.far.transport.is_closing():
            self.close(at_once=self.dropped)

    def lost(self, side: _Side, *, broken: bool) -> None:
        self.close(at_once=broken)
        if side is self.near or self.near.transport is None:
            self.gate.remove(self)

    def drop(self) -> None:
        """Cut both sides, also one that is only about to be connected."""
        self.dropped = True
        self.close(at_once=True)

    def close(self, *, at_once: bool = False) -> None:
        for side in (self.near, self.far):
            if side.transport is not None:
                if at_once:
                    side.transport.abort()
                else:
                    side.transport.close()  # after what is buffered has left


class _Gate:
    """The listening sockets of one slot and what came through them."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._relays: set[_Relay] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listening: list[tuple[socket.socket, Forward]] = []
        self._accepting = False

    def open(self, listening: list[tuple[socket.socket, Forward]]) -> None:
        self._listening = listening
        self._accept(True)

    def _accept(self, wanted: bool) -> None:
        if wanted == self._accepting:
            return
        loop = asyncio.get_running_loop()
        self._accepting = wanted
        for sock, forward in self._listening:
            if wanted:
                loop.add_reader(sock, self._take, sock, forward)
            else:
                loop.remove_reader(sock)

    def _take(self, sock: socket.socket, forward: Forward) -> None:
        try:
            accepted, _ = sock.accept()
        except OSError:
            return  # it has gone again, or we have no descriptor left for it now
        accepted.setblocking(False)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        relay = _Relay(self)
        self._relays.add(relay)
        task = asyncio.get_running_loop().create_task(relay.run(accepted, forward))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if len(self._relays) >= self._limit:
            self._accept(False)

    def remove(self, relay: _Relay) -> None:
        self._relays.discard(relay)
        if len(self._relays) < self._limit and self._listening:
            self._accept(True)

    def close_idle(self) -> None:
        for relay in list(self._relays):
            if not relay.busy:
                relay.drop()
            relay.busy = False

    def drop(self) -> None:
        for relay in list(self._relays):
            relay.drop()

    def close(self) -> None:
        self._accept(False)
        for sock, _ in self._listening:
            sock.close()
        self._listening = []
        self.drop()


class Forwarder:
    """Thread-safe. ``idle_seconds``: a connection that carries nothing for so long (up to twice) is cut."""

    def __init__(self, *, connections: int = 64, idle_seconds: float = 900.0) -> None:
        self._connections = connections
        self._idle_seconds = idle_seconds
        self._gates: dict[str, _Gate] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="forwarder", daemon=True)
        self._thread.start()

    def open(self, slot: str, listening: list[tuple[socket.socket, Forward]]) -> None:
        """Serve a slot's sockets (bound and not blocking; they belong to the forwarder from now on)."""
        for sock, _ in listening:
            sock.listen(_BACKLOG)
        self._call(self._open(slot, listening))

    def drop(self, slot: str) -> None:
        """Cut the connections of a slot: its job has ended."""
        gate = self._gates.get(slot)
        if gate is not None:
            self._loop.call_soon_threadsafe(gate.drop)

    def close_slot(self, slot: str) -> None:
        self._call(self._close_slot(slot))

    def close(self) -> None:
        for slot in list(self._gates):
            self.close_slot(slot)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.call_later(self._idle_seconds, self._close_idle)
        self._loop.run_forever()

    def _close_idle(self) -> None:
        for gate in self._gates.values():
            gate.close_idle()
        self._loop.call_later(self._idle_seconds, self._close_idle)

    async def _open(self, slot: str, listening: list[tuple[socket.socket, Forward]]) -> None:
        gate = self._gates[slot] = _Gate(self._connections)
        gate.open(listening)

    async def _close_slot(self, slot: str) -> None:
        gate = self._gates.pop(slot, None)
        if gate is not None:
            gate.close()

    def _call(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=10.0)
