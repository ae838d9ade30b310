"""One client's connection: HTTP/1.1 with limits, and the door's way to wait and to refuse before anything is begun.

uvicorn's protocol does the work. It sets no bounds to a request's head or to its time, so they are here.
"""

import math
import re
from collections import deque
from typing import Any

import msgspec
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from openhtc.api.app import API_PREFIX
from openhtc.server.places import Visit
from openhtc.server.turnstile import RETRY_AFTER_SECONDS, VISIT, Turnstile

IDLE_SECONDS = 75
"""Longer than load balancers keep a connection that nobody uses, so that it is not ended while a request is coming."""
_HEAD_SECONDS = 15.0
"""From the first byte of a request, or from the connection's begin, to the end of its head."""
_SILENT_SECONDS = 120.0
"""While the rest of a body is to come, or while nobody takes what is sent."""
_HEAD_BYTES = 64 * 1024
"""And what is said about the pieces of a body, and what comes after it; more for bodies in many small pieces."""
_FRAMING_PER_BYTE = 16
_PIPELINED = 16
_UPGRADE = re.compile(rb"\r\nupgrade:[^\r\n]*(?=\r\n)", re.IGNORECASE)
_PLAIN = tuple(f"GET {prefix}/htc/".encode() for prefix in ("", API_PREFIX))
_PLAIN_BYTES = 8192
_NOT_PLAIN = (b"content-length", b"transfer-encoding", b"upgrade", b"expect", b"close")


class _Refused(Exception):
    """Ends the reading of a connection that asks too much."""


class Connection(HttpToolsProtocol):
    """Begins a request when the turnstile says so."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        turnstile: Turnstile,
    ) -> None:
        super().__init__(config, server_state, app_state)
        self._turnstile = turnstile
        self._until = math.inf
        """When it is ended unless something has happened by then."""
        self._is_message_open = False
        self._is_head_open = False
        self._unread: _Request | None = None
        self._beginning: tuple[_Request, Visit] | None = None
        """A request that has its place and is read now."""
        self._current: RequestResponseCycle | None = None
        """The one that is served or waits to be, before those in the pipeline."""
        self._is_deaf = False
        self._head = bytearray()
        """Of the next request, while it is not complete."""
        self._received = 0
        """Bytes of this message."""
        self._body_bytes = 0
        self._piece_bytes = 0
        """Of what came last, when it begins with this message."""
        self._unsent = 0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._until = self.loop.time() + _HEAD_SECONDS

    def _expect(self) -> None:
        """Set how long the client has for what is to come from it now."""
        if self.flow.write_paused:
            return  # it has to take something first, and its time for that runs
        answered = self.cycle is None or self.cycle.response_complete
        if self._unread is not None:
            seconds = math.inf
        elif self._head or self._is_head_open:
            seconds = _HEAD_SECONDS
        elif self._is_message_open:
            # The rest of an answered body is read for nothing, because who is still sending does not see an answer.
            seconds = _HEAD_SECONDS if answered else _SILENT_SECONDS
        else:
            seconds = IDLE_SECONDS if answered else math.inf
        self._until = self.loop.time() + seconds

    def connection_lost(self, exc: Exception | None) -> None:
        """uvicorn tells the last request only."""
        super().connection_lost(exc)
        for cycle in (self._current, *(cycle for cycle, _ in self.pipeline)):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()

    def data_received(self, data: bytes) -> None:
        if self._is_deaf:
            return
        if self._unread is not None:
            # More than was waited for: the request that is there is looked at now, and waits as others do.
            data, self._unread = self._unread.data + data, None
        elif self._is_idle() and not self._head and _can_wait_unread(data):
            self._unset_keepalive_if_required()
            self._until = math.inf
            request = self._unread = _Request(self, data)
            self._turnstile.come(request)
            return
        if self._is_message_open:
            self._read(data)
        elif whole := self._with_whole_head(data):
            self._read(whole)

    def _is_idle(self) -> bool:
        """Nothing of a request is there, and every answer has been given."""
        return not self._is_message_open and (self.cycle is None or self.cycle.response_complete)

    def _with_whole_head(self, data: bytes) -> bytes:
        """A request from its beginning, without its wish for another protocol; nothing until its head is complete.

        That wish is not heard: Java's client has it each time, and httptools would read no body then.
        """
        if self._is_idle():
            self._unset_keepalive_if_required()
            self._until = min(self._until, self.loop.time() + _HEAD_SECONDS)
        if not self._head:
            data = data.lstrip(b"\r\n")
            if not data[:1].isupper():
                return data  # the parser says what is wrong with it
        looked = max(0, len(self._head) - 3)
        self._head += data
        end = self._head.find(b"\r\n\r\n", looked)
        if (end if end >= 0 else len(self._head)) > _HEAD_BYTES:
            self._refuse_head(b"\r\n" in self._head[: _HEAD_BYTES // 2])
        if end < 0 or self._is_deaf:
            return b""
        whole, self._head = bytes(self._head), bytearray()
        if b"pgrade" in whole or b"PGRADE" in whole:
            whole = _UPGRADE.sub(b"", whole[: end + 2]) + whole[end + 2 :]
        return whole

    def _read(self, data: bytes) -> None:
        self._piece_bytes = len(data)
        self._received += len(data)
        super().data_received(data)
        if self._is_message_open and self._received > _HEAD_BYTES + _FRAMING_PER_BYTE * self._body_bytes:
            self._refuse_head(True)

    def _refuse_head(self, has_line: bool) -> None:
        self._end(_TOO_LONG[has_line])

    def send_400_response(self, msg: str) -> None:
        self._end(_UNREADABLE)

    def _end(self, answer: bytes) -> None:
        """Hear no more. The answers that are owed come first; then there is no telling what this one is for."""
        if self._is_deaf or self.transport.is_closing():
            return
        self._is_deaf = True
        self._head.clear()
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            self._say_last(answer)
        elif not self._is_message_open or self._is_head_open:
            cycle.keep_alive, self._is_message_open, self._is_head_open = False, False, False
            self._expect()
        elif self.pipeline:
            self.pipeline.popleft()  # the one that cannot go on is the newest
            before = self.pipeline[0][0] if self.pipeline else self._current
            assert before is not None, "nothing is behind nothing"
            self.cycle, before.keep_alive, self._is_message_open = before, False, False
            self._expect()
        elif cycle.response_started:
            self.transport.close()
        else:
            cycle.disconnected = True
            cycle.message_event.set()
            self._say_last(answer)

    def _say_last(self, answer: bytes) -> None:
        self.transport.write(answer)
        self.transport.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_message_open = self._is_head_open = True
        self._received, self._body_bytes = self._piece_bytes, 0
        self._expect()

    def on_headers_complete(self) -> None:
        if self.transport.is_closing():
            raise _Refused("nobody hears the answer")
        if len(self.pipeline) >= _PIPELINED:
            raise _Refused("too many requests before the first was answered")
        if self.parser.should_upgrade():
            raise _Refused("another protocol")
        self._is_head_open = False
        super().on_headers_complete()
        self._expect()
        self.headers = deque(maxlen=0)  # type: ignore[assignment]  # what comes after the body is nobody's business

    def waits_unread(self, request: "_Request") -> bool:
        return self._unread is request

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if not self.cycle.response_complete:
            self._expect()
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._is_message_open = False
        self._piece_bytes = 0
        self._expect()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._expect()
        if self._is_message_open and not self._is_head_open and self.cycle.response_complete:
            self.cycle.body.clear()
            if self.expect_100_continue and not self._body_bytes:
                self.transport.close()  # whether a body follows is not known

    def pause_writing(self) -> None:
        super().pause_writing()
        self._until = self.loop.time() + _SILENT_SECONDS
        self._unsent = self.transport.get_write_buffer_size()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._expect()

    def look(self, now: float) -> None:
        """Called now and then: end the connection of a client that keeps everybody waiting."""
        closing = self.transport.is_closing()
        if closing and self._until == math.inf:
            self._until = now + _SILENT_SECONDS  # somebody has to take what was said last
            self._unsent = self.transport.get_write_buffer_size()
        if self._until > now:
            return
        unsent = self.transport.get_write_buffer_size()
        if unsent < self._unsent or (not (closing or self.flow.write_paused) and self._is_our_turn()):
            self._until = now + _SILENT_SECONDS
            self._unsent = unsent
        else:
            self.transport.abort()

    def _is_our_turn(self) -> bool:
        """It is not the client that is waited for."""
        if self.flow.read_paused:
            return True
        return (
            self.cycle is not None
            and self.cycle.waiting_for_100_continue
            and not self.cycle.response_complete
        )

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._current = cycle
        if self._beginning is None:
            self._turnstile.come(_Request(self, cycle=cycle))
            return
        (request, visit), self._beginning = self._beginning, None
        request.cycle = cycle
        self.begin(request, visit)

    def begin(self, request: "_Request", visit: Visit | None) -> None:
        if request.cycle is not None:
            request.cycle.scope[VISIT] = visit  # type: ignore[literal-required]
            self._expect()
            super()._start_asgi_task(request.cycle, self.app)
            return
        assert visit is not None, "what passes is read at once"
        self._unread, self._beginning = None, (request, visit)
        self._read(request.data)
        if self._beginning is not None:  # it could not be read
            self._beginning = None
            self.loop.call_soon(visit.end)  # not now: that begins the next one, which may be no better

    def refuse(self, cycle: RequestResponseCycle | None) -> None:
        """Answer 503 without calling anybody."""
        if self.flow.write_paused:
            self.transport.abort()  # it does not take the answers that there are
            return
        if cycle is None:
            self._unread = None
            self._expect()
            self.transport.write(_UNREAD_REFUSAL)
            return
        cycle.keep_alive = cycle.keep_alive and not cycle.waiting_for_100_continue
        cycle.response_started = cycle.response_complete = True
        cycle.body.clear()
        head, body = _REFUSAL[cycle.keep_alive]
        self.transport.write(head if cycle.scope["method"] == "HEAD" else head + body)
        if not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()


class _Request:
    """For the turnstile. Without a cycle it is still to be read: nothing but its bytes is there."""

    __slots__ = ("connection", "cycle", "data", "path")

    def __init__(
        self, connection: Connection, data: bytes = b"", cycle: RequestResponseCycle | None = None
    ) -> None:
        self.connection = connection
        self.data = data
        self.cycle = cycle
        self.path: str = "" if cycle is None else cycle.scope["path"]

    def is_gone(self) -> bool:
        connection = self.connection
        return connection.transport.is_closing() or (self.cycle is None and not connection.waits_unread(self))

    def has_news(self) -> bool:
        return self.cycle is not None and self.cycle.message_event.is_set()

    def has_room(self) -> bool:
        return not self.connection.flow.write_paused

    def begin(self, visit: Visit | None) -> None:
        self.connection.begin(self, visit)

    def refuse(self) -> None:
        self.connection.refuse(self.cycle)


def _can_wait_unread(data: bytes) -> bool:
    """Whether this is one whole request of a user for something, without a body, after which the connection stays."""
    if not data.startswith(_PLAIN) or data.find(b"\r\n\r\n") != len(data) - 4 or b" HTTP/1.1\r\n" not in data:
        return False
    if len(data) > _PLAIN_BYTES:
        return False
    head = data.lower()
    return all(word not in head for word in _NOT_PLAIN)


def _answer(status: str, headers: dict[str, str], code: str, text: str) -> tuple[bytes, bytes]:
    """Head and body, in the form of the API's errors."""
    body = msgspec.json.encode({"error": code, "errorType": code, "errorDescription": text, "message": text})
    fields = {"content-type": "application/json", "content-length": str(len(body)), **headers}
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    return "\r\n".join(lines).encode(), body


def _refusal(keep_alive: bool) -> tuple[bytes, bytes]:
    headers = {"retry-after": str(RETRY_AFTER_SECONDS)} | ({} if keep_alive else {"connection": "close"})
    text = f"the service is overloaded: try again in {RETRY_AFTER_SECONDS} s"
    return _answer("503 Service Unavailable", headers, "OVERLOADED", text)


def _too_long(status: str, what: str) -> bytes:
    text = f"the {what} of the request is longer than {_HEAD_BYTES} bytes"
    return b"".join(_answer(status, {"connection": "close"}, "INVALID_REQUEST", text))


# Made once: there are many when there are any.
_REFUSAL = {keep_alive: _refusal(keep_alive) for keep_alive in (True, False)}
_UNREAD_REFUSAL = b"".join(_REFUSAL[True])
_UNREADABLE = b"".join(
    _answer("400 Bad Request", {"connection": "close"}, "INVALID_REQUEST", "the request is not HTTP/1.1")
)
_TOO_LONG = {
    True: _too_long("431 Request Header Fields Too Large", "head"),
    False: _too_long("414 URI Too Long", "address"),
}
