"""What a connection lets its client do, with the real server on a socket of this machine."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from openhtc.server import connection, turnstile, worker
from openhtc.server.turnstile import Turnstile
from openhtc.server.worker import Worker

GET = b"GET /htc/x HTTP/1.1\r\nHost: x\r\n\r\n"


class House:
    """An application that answers with what it was told, once it is let go."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.bodies: list[bytes] = []
        self.open = asyncio.Event()
        self.open.set()
        self.told: list[str] = []
        self.stopped = asyncio.Event()

    async def wake(self) -> None:
        self.stopped.set()

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                await send({"type": f"{message['type']}.complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        self.requests.append(scope)
        if scope["path"] != "/early" and not (scope["path"] == "/large" and scope["method"] == "POST"):
            await self._read(receive)
        if scope["path"] == "/agent/poll":
            await self.stopped.wait()
        elif scope["path"] == "/listens":
            self.told.append((await receive())["type"])
        else:
            await self.open.wait()
        is_large = scope["path"] == "/large" or b"x-large" in dict(scope["headers"])
        size = 50_000_000 if is_large else 2
        length = str(size).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
        await send({"type": "http.response.body", "body": b"o" * (size // 2), "more_body": True})
        await send({"type": "http.response.body", "body": b"k" * (size // 2)})

    async def _read(self, receive: Any) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        self.bodies.append(body)


class Quiet(Worker):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Answer:
    def __init__(self, head: bytes, body: bytes) -> None:
        lines = head.decode().split("\r\n")
        self.status = int(lines[0].split(" ")[1])
        self.headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
        self.body = body


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def say(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self, *, has_body: bool = True) -> Answer:
        async with asyncio.timeout(5):
            head = await self.reader.readuntil(b"\r\n\r\n")
            answer = Answer(head, b"")
            if has_body:
                answer.body = await self.reader.readexactly(int(answer.headers["content-length"]))
            return answer

    async def is_ended(self) -> bool:
        """The server has closed it, without another word. Raises TimeoutError."""
        async with asyncio.timeout(5):
            try:
                return await self.reader.read() == b""
            except ConnectionResetError:
                return True


class Place:
    """A server and its clients."""

    def __init__(self, port: int, house: House, door: Turnstile, server: Worker) -> None:
        self.port = port
        self.house = house
        self.door = door
        self.server = server
        self.clients: list[Client] = []

    async def client(self) -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port))
        self.clients.append(client)
        return client

    async def until(self, wanted: Any) -> None:
        async with asyncio.timeout(5):
            while not wanted():
                await asyncio.sleep(0.01)


@asynccontextmanager
async def served(at_once: int = 2, connections: int = 100, crowd: int = 100) -> AsyncIterator[Place]:
    house = House()
    door = Turnstile(house, at_once=at_once, connections=crowd, patience_seconds=5)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = Quiet(door, listener, connections, house.wake)
        serving = asyncio.ensure_future(server.serve())
        place = Place(listener.getsockname()[1], house, door, server)
        await place.until(lambda: server.started)
        try:
            yield place
        finally:
            house.open.set()
            for client in place.clients:
                client.writer.close()
            server.should_exit = True
            await asyncio.wait_for(serving, 10)


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    async with served() as place:
        yield place


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """No time for slow clients."""
    monkeypatch.setattr(connection, "_HEAD_SECONDS", 0.3)
    monkeypatch.setattr(connection, "_SILENT_SECONDS", 0.3)
    monkeypatch.setattr(worker, "_LOOK_TICKS", 1)


async def test_a_connection_is_kept_for_the_next_request(place: Place) -> None:
    client = await place.client()
    for _ in range(3):
        client.say(GET)
        assert (await client.answer()).body == b"ok"
    client.say(b"GET /htc/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert (await client.answer()).headers["connection"] == "close"
    assert await client.is_ended()
    old = await place.client()
    old.say(b"GET /htc/x HTTP/1.0\r\n\r\n")
    assert (await old.answer()).status == 200
    assert await old.is_ended()


async def test_pipelined_requests_are_answered_in_turn(place: Place) -> None:
    client = await place.client()
    client.say(b"".join(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % n for n in range(5)))
    for _ in range(5):
        assert (await client.answer()).status == 200
    assert [scope["path"] for scope in place.house.requests] == [f"/{n}" for n in range(5)]


async def test_nobody_pipelines_without_end(place: Place) -> None:
    place.house.open.clear()
    client = await place.client()
    client.say(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 1000)
    await asyncio.sleep(0.1)
    place.house.open.set()
    for _ in range(17):
        assert (await client.answer()).status == 200
    assert await client.is_ended()
    assert len(place.house.requests) == 17


async def test_nothing_is_said_before_the_answers_that_are_owed(place: Place) -> None:
    place.house.open.clear()
    client = await place.client()
    client.say(b"POST /a HTTP/1.1\r\nContent-Length: 1\r\n\r\na" + b"nonsense\r\n\r\n" + GET)
    await asyncio.sleep(0.1)
    place.house.open.set()
    assert (await client.answer()).body == b"ok"
    assert await client.is_ended()
    assert len(place.house.requests) == 1


async def test_a_body_that_breaks_off_is_told(place: Place) -> None:
    client = await place.client()
    client.say(b"POST /htc/a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")
    await place.until(lambda: place.house.requests)
    client.say(b"nonsense\r\n")
    assert (await client.answer()).status == 400
    assert await client.is_ended()
    await place.until(lambda: place.house.bodies)


async def test_an_answer_that_has_begun_is_not_mixed_with_another(place: Place) -> None:
    client = await place.client()
    client.say(b"POST /early HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")
    assert (await client.answer()).status == 200
    client.say(b"nonsense\r\n")
    assert (await client.answer()).status == 400
    assert await client.is_ended()


async def test_all_of_a_connection_hear_of_its_end(place: Place) -> None:
    client = await place.client()
    client.say(b"GET /listens HTTP/1.1\r\nHost: x\r\n\r\n" + GET)
    await place.until(lambda: place.house.bodies)
    client.writer.close()
    await place.until(lambda: place.house.told == ["http.disconnect"])


@pytest.mark.parametrize(
    ("start", "end", "status"),
    [
        (b"GET /htc/" + b"a" * 70_000, b" HTTP/1.1\r\n\r\n", 414),
        (b"GET /htc/ HTTP/1.1\r\nA: " + b"a" * 70_000, b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"A: a\r\n" * 12_000, b"\r\n", 431),
    ],
)
@pytest.mark.parametrize("is_whole", [False, True])
async def test_a_head_has_a_length(
    place: Place, start: bytes, end: bytes, status: int, is_whole: bool
) -> None:
    client = await place.client()
    client.say(start + end * is_whole)
    answer = await client.answer()
    assert answer.status == status and "65536" in json.loads(answer.body)["message"]
    assert await client.is_ended()
    assert not place.house.requests


async def test_a_head_in_many_pieces_has_a_length(place: Place) -> None:
    client = await place.client()
    client.say(b"GET /htc/ HTTP/1.1\r\n")
    for n in range(80):
        client.say(b"X-%d: " % n + b"a" * 1000 + b"\r\n")
        await asyncio.sleep(0)
    with contextlib.suppress(ConnectionResetError):  # the last pieces came after the end
        assert (await client.answer()).status == 431
    assert await client.is_ended()
    assert not place.house.requests


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(
    "start", [b"", b"GET /htc/x HTTP", b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nab"]
)
async def test_who_says_nothing_more_is_left(place: Place, start: bytes) -> None:
    client = await place.client()
    client.say(start)
    assert await client.is_ended()


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(("start", "piece"), [(b"GET / HTTP/1.1\r\nA: ", b"a"), (b"", b"\r\n")])
async def test_a_head_has_an_end_though_something_always_comes(
    place: Place, start: bytes, piece: bytes
) -> None:
    client = await place.client()
    client.say(start)
    async with asyncio.timeout(5):
        while not client.reader.at_eof() and client.reader.exception() is None:
            client.say(piece)
            await asyncio.sleep(0.02)


@pytest.mark.usefixtures("hasty")
async def test_a_stray_line_end_does_not_end_what_is_served(place: Place) -> None:
    place.house.open.clear()
    client = await place.client()
    client.say(b"POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\na")
    await asyncio.sleep(0.05)
    client.say(b"\r\n")
    await asyncio.sleep(0.8)
    place.house.open.set()
    assert (await client.answer()).status == 200


@pytest.mark.usefixtures("hasty")
async def test_who_was_answered_early_is_left_in_the_end(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "IDLE_SECONDS", 0.3)
    client = await place.client()
    client.say(b"POST /early HTTP/1.1\r\nContent-Length: 4\r\n\r\nab")
    assert (await client.answer()).status == 200
    client.say(b"cd")
    assert await client.is_ended()


@pytest.mark.usefixtures("hasty")
async def test_a_body_may_come_slowly(place: Place) -> None:
    client = await place.client()
    client.say(b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\n")
    for _ in range(10):
        await asyncio.sleep(0.1)
        client.say(b"a")
    assert (await client.answer()).status == 200
    assert place.house.bodies == [b"a" * 10]


@pytest.mark.usefixtures("hasty")
async def test_who_does_not_take_an_answer_is_left(place: Place) -> None:
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", place.port))
        client.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        await place.until(lambda: place.house.requests)
        await place.until(lambda: not place.server.server_state.connections)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(
    ("head", "later"),
    [
        (b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n", b"\r\n"),
        (b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /y HTTP/1.1\r\nA: "),
        (b"POST /large HTTP/1.1\r\nContent-Length: 4\r\n\r\nab", b"cd"),
    ],
)
async def test_what_comes_while_an_answer_is_taken_keeps_no_connection(
    place: Place, monkeypatch: pytest.MonkeyPatch, head: bytes, later: bytes
) -> None:
    monkeypatch.setattr(connection, "_SILENT_SECONDS", 1.0)
    monkeypatch.setattr(connection, "IDLE_SECONDS", 0.5)
    client = await place.client()
    client.say(head)
    await place.until(lambda: place.house.requests)
    await asyncio.sleep(0.1)
    client.say(later)
    async with asyncio.timeout(10):
        with contextlib.suppress(ConnectionResetError):
            while await client.reader.read(1_000_000):
                pass


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("later", [b"nonsense\r\n\r\n", b"GET /b HTTP/1.1\r\nHost : x\r\n\r\n"])
async def test_nonsense_does_not_give_who_takes_nothing_more_time(place: Place, later: bytes) -> None:
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", place.port))
        client.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        await place.until(lambda: place.house.requests)
        await asyncio.sleep(0.1)
        client.sendall(later)
        await place.until(lambda: not place.server.server_state.connections)


@pytest.mark.usefixtures("hasty")
async def test_a_body_does_not_give_who_takes_nothing_more_time(place: Place) -> None:
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", place.port))
        client.sendall(b"POST /early HTTP/1.1\r\nContent-Length: 4000\r\nX-Large: 1\r\n\r\n")
        await place.until(lambda: place.house.requests)
        async with asyncio.timeout(5):
            with contextlib.suppress(OSError):
                while place.server.server_state.connections:
                    client.sendall(b"a")
                    await asyncio.sleep(0.05)


async def test_who_takes_no_refusals_gets_no_more(place: Place) -> None:
    place.door.close()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", place.port))
        client.setblocking(False)
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            async with asyncio.timeout(10):
                while True:
                    with contextlib.suppress(BlockingIOError):
                        client.send(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n" * 500)
                    await asyncio.sleep(0)


async def test_what_follows_a_last_refusal_is_not_done(place: Place) -> None:
    place.door.close()
    client = await place.client()
    first = b"POST /x HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nabcde"
    client.say(first + b"POST /agent/report HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
    assert (await client.answer()).status == 503
    assert await client.is_ended()
    assert not place.house.requests


async def test_a_broken_body_takes_no_earlier_answer_with_it(place: Place) -> None:
    place.house.open.clear()
    client = await place.client()
    chunked = b"POST /%s HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"
    client.say(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n" + GET + chunked % b"c" + b"nonsense\r\n")
    await asyncio.sleep(0.1)
    place.house.open.set()
    for _ in range(2):
        assert (await client.answer()).status == 200
    assert await client.is_ended()
    assert [scope["path"] for scope in place.house.requests] == ["/a", "/htc/x"]


async def test_many_long_heads_in_one_burst_are_not_one(place: Place) -> None:
    client = await place.client()
    head = b"GET / HTTP/1.1\r\nA: " + b"a" * 7000 + b"\r\n\r\n"
    client.say(head * 10 + head[:5000])
    await asyncio.sleep(0.2)
    client.say(head[5000:])
    for _ in range(11):
        assert (await client.answer()).status == 200


@pytest.mark.usefixtures("hasty")
async def test_an_answer_may_be_taken_slowly(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_SILENT_SECONDS", 1.0)
    client = await place.client()
    client.say(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
    head = await client.reader.readuntil(b"\r\n\r\n")
    missing = 50_000_000
    assert b" 200 " in head
    async with asyncio.timeout(30):
        while missing:
            missing -= len(await client.reader.read(500_000))
            await asyncio.sleep(0.02)


@pytest.mark.usefixtures("hasty")
async def test_the_rest_of_a_refused_body_is_not_read_for_ever(place: Place) -> None:
    client = await place.client()
    client.say(b"POST /early HTTP/1.1\r\nContent-Length: 100000000\r\n\r\nab")
    assert (await client.answer()).status == 200
    async with asyncio.timeout(5):
        while client.reader.exception() is None and not client.reader.at_eof():
            client.say(b"a" * 1000)
            await asyncio.sleep(0.02)


async def test_a_body_that_nobody_waited_for_does_not_become_a_request(place: Place) -> None:
    client = await place.client()
    client.say(b"POST /early HTTP/1.1\r\nContent-Length: 33\r\nExpect: 100-continue\r\n\r\n")
    assert (await client.answer()).status == 200
    assert await client.is_ended()


async def test_what_follows_a_body_is_no_header_and_has_an_end(place: Place) -> None:
    client = await place.client()
    client.say(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nX-Forged: 1\r\n\r\n")
    assert (await client.answer()).status == 200
    assert place.house.bodies == [b"ab"]
    assert b"x-forged" not in dict(place.house.requests[0]["headers"])
    client.say(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n")
    with pytest.raises((AssertionError, asyncio.IncompleteReadError, ConnectionError)):
        for n in range(1000):
            client.say(b"X-%d: " % n + b"a" * 1000 + b"\r\n")
            await asyncio.sleep(0)
            assert not client.reader.at_eof()
        await client.reader.readuntil(b"never")


async def test_a_wish_for_another_protocol_is_passed_over(place: Place) -> None:
    client = await place.client()
    head = b"POST / HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nContent-Length: 13\r\n\r\n"
    for _ in range(2):
        client.say(head + b"\r\nUpgrade: h2")
        assert (await client.answer()).status == 200
    assert place.house.bodies == [b"\r\nUpgrade: h2"] * 2


@pytest.mark.parametrize("cut", range(20, 110, 7))
async def test_a_wish_in_pieces_is_passed_over(place: Place, cut: int) -> None:
    head = b"POST / HTTP/1.1\r\nContent-Length: 2\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nContent-Type: x"
    request = head + b"\r\n\r\nab"
    client = await place.client()
    for _ in range(2):
        client.say(request[:cut])
        await asyncio.sleep(0.02)
        client.say(request[cut:])
        assert (await client.answer()).status == 200
    assert place.house.bodies == [b"ab"] * 2
    assert dict(place.house.requests[1]["headers"])[b"content-type"] == b"x"


async def test_a_wish_behind_another_request_is_refused(place: Place) -> None:
    client = await place.client()
    body = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
    head = b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: %d\r\n\r\n" % len(body)
    client.say(b"POST /a HTTP/1.1\r\nContent-Length: 0\r\n\r\nPOST /b HTTP/1.1\r\n" + head + body)
    assert (await client.answer()).status == 200
    assert await client.is_ended()
    assert [scope["path"] for scope in place.house.requests] == ["/a"]


async def test_more_connections_than_there_may_be_wait() -> None:
    async with served(connections=8) as place:
        clients = [await place.client() for _ in range(12)]
        for client in clients:
            client.say(GET)
        for client in clients[:8]:
            assert (await client.answer()).status == 200
        await asyncio.sleep(0.3)
        assert len(place.server.server_state.connections) == 8
        for client in clients[:4]:
            client.writer.close()
        for client in clients[8:]:
            assert (await client.answer()).status == 200


@pytest.fixture
async def crowded(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Place]:
    """One is inside, one in line, and whoever comes now is refused soon."""
    monkeypatch.setattr(turnstile, "RETRY_AFTER_SECONDS", 0.3)
    async with served(at_once=1) as place:
        place.door.places.per_second = 0.0
        place.house.open.clear()
        for number in (1, 2):
            client = await place.client()
            client.say(GET)
            await place.until(
                lambda number=number: len(place.house.requests) + place.door.places.waiting == number
            )
        yield place


PLAIN = b"GET /htc/x HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n"
POST = b"POST /htc/x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcde"


@pytest.mark.parametrize("request_", [PLAIN, POST, b"GET /other HTTP/1.1\r\nHost: x\r\n\r\n"])
async def test_who_is_refused_is_told_when_to_come_again_and_may(crowded: Place, request_: bytes) -> None:
    client = await crowded.client()
    for _ in range(2):
        client.say(request_)
        answer = await client.answer()
        assert (answer.status, answer.headers["retry-after"]) == (503, "5")
        assert json.loads(answer.body)["error"] == "OVERLOADED"
    client.say(request_)
    await crowded.until(lambda: crowded.door.kept_back == 1)
    crowded.house.open.set()
    assert (await client.answer()).status == 200
    assert crowded.house.bodies[2:] == [request_.partition(b"\r\n\r\n")[2]]


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /htc/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /htc/x HTTP/1.0\r\nHost: x\r\n\r\n",
        b"POST /htc/x HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
    ],
)
async def test_a_refusal_ends_what_cannot_go_on(crowded: Place, request_: bytes) -> None:
    client = await crowded.client()
    client.say(request_)
    answer = await client.answer()
    assert (answer.status, answer.headers["connection"]) == (503, "close")
    assert await client.is_ended()


async def test_a_refusal_has_no_body_for_who_asks_for_none(crowded: Place) -> None:
    client = await crowded.client()
    client.say(b"HEAD /htc/x HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await client.answer(has_body=False)).status == 503
    client.say(PLAIN)
    assert (await client.answer()).status == 503, "and nothing between them"


async def test_who_passes_does_not_wait(crowded: Place) -> None:
    client = await crowded.client()
    client.say(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    await crowded.until(lambda: crowded.house.requests[-1]["path"] == "/healthz")
    crowded.house.open.set()
    assert (await client.answer()).status == 200


async def test_requests_behind_one_that_waits_unread_are_answered_too(crowded: Place) -> None:
    client = await crowded.client()
    client.say(PLAIN)
    await crowded.until(lambda: crowded.door.kept_back == 1)
    client.say(PLAIN[:10])
    await asyncio.sleep(0.05)
    client.say(PLAIN[10:] + PLAIN)
    for _ in range(3):
        assert (await client.answer()).status == 503
    await asyncio.sleep(0.4)
    assert client.reader._buffer == b"", "each has one answer"  # type: ignore[attr-defined]


async def test_one_that_cannot_be_read_has_no_place(crowded: Place) -> None:
    client = await crowded.client()
    client.say(b"GET /htc/x HTTP/1.1\r\nHost : x\r\n\r\n")
    await crowded.until(lambda: crowded.door.kept_back == 1)
    crowded.house.open.set()
    assert (await client.answer()).status == 400
    assert await client.is_ended()
    await crowded.until(lambda: crowded.door.places._free == 1)


async def test_many_that_cannot_be_read_are_worth_no_place() -> None:
    async with served(at_once=1, connections=1000, crowd=1000) as place:
        place.house.open.clear()
        for _ in range(400):
            client = await place.client()
            client.say(GET if len(place.clients) == 1 else b"GET /htc/x HTTP/1.1\r\nHost : x\r\n\r\n")
        await place.until(lambda: place.door.places.waiting == 399)
        place.house.open.set()
        await place.until(lambda: place.door.places.waiting == 0 and place.door.places._free == 1)
        client = await place.client()
        client.say(PLAIN)
        assert (await client.answer()).status == 200


async def test_long_polls_end_with_the_server(place: Place) -> None:
    client = await place.client()
    client.say(b"GET /agent/poll HTTP/1.1\r\nHost: x\r\n\r\n")
    await place.until(lambda: place.house.requests)
    began = asyncio.get_running_loop().time()
    place.server.should_exit = True
    assert (await client.answer()).status == 200
    assert asyncio.get_running_loop().time() - began < 5
    assert await client.is_ended()


async def test_who_has_gone_is_forgotten(crowded: Place) -> None:
    client = await crowded.client()
    client.say(PLAIN)
    await crowded.until(lambda: crowded.door.kept_back == 1)
    client.writer.close()
    crowded.clients[1].writer.close()
    await crowded.until(lambda: len(crowded.server.server_state.connections) == 1)
    crowded.house.open.set()
    assert (await crowded.clients[0].answer()).status == 200
    await crowded.until(lambda: crowded.door.places._free == 1)
    assert len(crowded.house.requests) == 1


async def test_a_stopping_server_refuses_who_waits_and_ends_what_it_serves(crowded: Place) -> None:
    client = await crowded.client()
    client.say(PLAIN)
    await crowded.until(lambda: crowded.door.kept_back == 1)
    crowded.server.should_exit = True
    assert (await client.answer()).status == 503
    assert (await crowded.clients[1].answer()).status == 503
    crowded.house.open.set()
    assert (await crowded.clients[0].answer()).status == 200
    for each in crowded.clients:
        assert await each.is_ended()


async def test_what_one_request_leaves_in_its_context_is_not_the_next_ones() -> None:
    from openhtc.lifecycle.turns import CURRENT

    seen = []
    async with served(at_once=1) as place:
        inner = place.house

        async def noting(scope: dict[str, Any], receive: Any, send: Any) -> None:
            seen.append((scope["path"], CURRENT.get()))
            await inner(scope, receive, send)

        place.door._app = noting
        place.house.open.clear()
        for path in (b"/1", b"/2", b"/healthz"):
            client = await place.client()
            client.say(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n")
            await asyncio.sleep(0.1)
        place.house.open.set()
        for client in place.clients:
            assert (await client.answer()).status == 200
    visits = dict(seen)
    assert visits["/healthz"] is None and visits["/1"] is not visits["/2"] is not None
