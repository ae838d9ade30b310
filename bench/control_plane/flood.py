"""Very many requests from one thread: one after the other by some clients, or at a rate that nothing slows down.

Written on epoll, because the load shares the machine with what it loads: an asyncio client costs several times as much.
"""

import resource
import select
import socket
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

GIVEN_UP_SECONDS = 120.0
"""How long a client waits for an answer: the public ones wait for 300 s, and the service for a minute at most."""
_TICK_SECONDS = 0.002
_END_OF_HEAD = b"\r\n\r\n"


@dataclass
class Answers:
    """What came of requests."""

    asked: int = 0
    by_status: Counter[str] = field(default_factory=Counter)
    """``gone`` are those that nobody waited for any more, ``lost`` those whose connection broke."""
    seconds: list[float] = field(default_factory=list)
    """Of each request that was served."""
    in_time: int = 0
    """Served while requests were still being made."""
    cpu_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked again and again."""

    origin: str
    method: str
    path: str
    token: str
    body: bytes = b""

    def request(self, host: str) -> bytes:
        lines = [
            f"{self.method} {self.path} HTTP/1.1",
            f"Host: {host}",
            f"Authorization: Bearer {self.token}",
        ]
        if self.body:
            lines += ["Content-Type: application/json", f"Content-Length: {len(self.body)}"]
        return "\r\n".join([*lines, "", ""]).encode() + self.body


class _Connection:
    """One connection, kept for the next request once its answer is complete."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.connect_ex(address)
        self.is_new = True
        self.unsent = b""
        self.asked_at = 0.0
        self.head = b""
        self.status = ""
        self.missing = 0
        """Of the body, once the head is there."""

    def ask(self, request: bytes, now: float) -> None:
        self.asked_at, self.unsent, self.head, self.status, self.missing = now, request, b"", "", 0

    def take(self) -> bool:
        """Read what has come; True when the answer is complete. Raises OSError for a broken connection."""
        received = self.socket.recv(1 << 18)
        if not received:
            raise ConnectionResetError("closed before the answer")
        if self.status:
            self.missing -= len(received)
            return self.missing <= 0
        self.head += received
        head, found, body = self.head.partition(_END_OF_HEAD)
        if not found:
            return False
        self.status = head[9:12].decode()
        lengths = [line[15:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        self.missing = int(lengths[0]) - len(body)
        return self.missing <= 0


class Flood:
    """One address and one request."""

    def __init__(self, question: Question) -> None:
        where = urlsplit(question.origin)
        self._address = (where.hostname or "", where.port or 80)
        self._request = question.request(where.netloc)
        self._poll = select.epoll()
        self._busy: dict[int, _Connection] = {}
        self._idle: list[_Connection] = []
        self._turns: deque[tuple[float, int, _Connection]] = deque()
        self._answers = Answers()
        self._until = 0.0

    def one_after_the_other(self, clients: int, seconds: float) -> Answers:
        """Each client asks again when it has its answer."""
        return self._run(seconds, lambda passed: clients - len(self._busy))

    def at_rate(self, per_second: float, seconds: float) -> Answers:
        """Whatever becomes of the requests before."""
        return self._run(seconds, lambda passed: int(passed * per_second) - self._answers.asked)

    def _run(self, seconds: float, due: Callable[[float], int]) -> Answers:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        used = time.process_time()
        began = time.monotonic()
        self._until = began + seconds
        try:
            while (now := time.monotonic()) < self._until or self._busy:
                if now < self._until:
                    for _ in range(due(now - began)):
                        self._ask(now)
                for descriptor, _ in self._poll.poll(_TICK_SECONDS):
                    self._serve(descriptor)
                self._give_up()
        finally:
            for connection in (*self._idle, *self._busy.values()):
                connection.socket.close()
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        self._answers.cpu_seconds = time.process_time() - used
        return self._answers

    def _ask(self, now: float) -> None:
        is_new = not self._idle
        connection = _Connection(self._address) if is_new else self._idle.pop()
        descriptor = connection.socket.fileno()
        connection.ask(self._request, now)
        self._busy[descriptor] = connection
        self._turns.append((now, descriptor, connection))
        self._answers.asked += 1
        if is_new:
            self._poll.register(descriptor, select.EPOLLOUT)
        else:
            self._serve(descriptor)  # it can be written to

    def _serve(self, descriptor: int) -> None:
        connection = self._busy.get(descriptor)
        if connection is None:
            self._closed(descriptor)
            return
        try:
            if connection.unsent:
                # A request is far smaller than the buffer of a socket that has none before it.
                sent = connection.socket.send(connection.unsent)
                assert sent == len(connection.unsent), f"{sent} bytes of a request were sent"
                connection.unsent = b""
                if connection.is_new:
                    connection.is_new = False
                    self._poll.modify(descriptor, select.EPOLLIN)
            elif connection.take():
                self._answered(descriptor, connection)
        except OSError:
            self._drop(descriptor, connection, "lost")

    def _closed(self, descriptor: int) -> None:
        """The server ended a connection that waited for its next request."""
        for connection in self._idle:
            if connection.socket.fileno() == descriptor:
                self._idle.remove(connection)
                connection.socket.close()
                return

    def _answered(self, descriptor: int, connection: _Connection) -> None:
        now, answers = time.monotonic(), self._answers
        answers.by_status[connection.status] += 1
        if connection.status == "200":
            answers.seconds.append(now - connection.asked_at)
            answers.in_time += now < self._until
        del self._busy[descriptor]
        self._idle.append(connection)

    def _give_up(self) -> None:
        last = time.monotonic() - GIVEN_UP_SECONDS
        while self._turns and self._turns[0][0] <= last:
            asked_at, descriptor, connection = self._turns.popleft()
            if self._busy.get(descriptor) is connection and connection.asked_at == asked_at:
                self._drop(descriptor, connection, "gone")

    def _drop(self, descriptor: int, connection: _Connection, why: str) -> None:
        self._answers.by_status[why] += 1
        del self._busy[descriptor]
        connection.socket.close()
