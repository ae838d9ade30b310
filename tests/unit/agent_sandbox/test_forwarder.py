"""The relay alone, between sockets of this machine."""

import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from openhtc.agent.sandbox.forwarder import Forward, Forwarder


def listener() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0), backlog=64)


class Relayed:
    """A forwarder in front of a server that hands its connections to the test."""

    def __init__(self, **options: float) -> None:
        self.target = listener()
        self.target.settimeout(10)
        self.forwarder = Forwarder(**options)  # type: ignore[arg-type]
        front = socket.socket()
        front.bind(("127.0.0.1", 0))
        front.setblocking(False)
        self.address = front.getsockname()
        self.forwarder.open("s", [(front, Forward(*self.address, *self.target.getsockname()))])

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=10)

    def pair(self) -> tuple[socket.socket, socket.socket]:
        near = self.connect()
        far, _ = self.target.accept()
        far.settimeout(10)
        return near, far


@pytest.fixture
def relayed() -> Iterator[Callable[..., Relayed]]:
    made: list[Relayed] = []

    def make(**options: float) -> Relayed:
        made.append(Relayed(**options))
        return made[-1]

    yield make
    for one in made:
        one.forwarder.close()
        one.target.close()


def read_all(sock: socket.socket) -> bytes:
    data = b""
    while piece := sock.recv(1 << 20):
        data += piece
    return data


def test_each_direction_closes_on_its_own(relayed):
    near, far = relayed().pair()
    near.sendall(b"question")
    near.shutdown(socket.SHUT_WR)
    assert read_all(far) == b"question"
    far.sendall(b"answer")
    far.close()
    assert read_all(near) == b"answer"


def test_a_slow_reader_gets_everything_and_memory_stays_bounded(relayed):
    near, far = relayed().pair()
    body = b"x" * (32 << 20)
    sender = threading.Thread(target=lambda: (near.sendall(body), near.shutdown(socket.SHUT_WR)))
    sender.start()
    assert sender.join(0.3) is None and sender.is_alive(), "nobody reads: the sender must have to wait"
    assert len(read_all(far)) == len(body)
    sender.join(10)


def test_a_broken_connection_breaks_the_other_side(relayed):
    near, far = relayed().pair()
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    far.close()
    try:
        assert near.recv(1) == b""
    except ConnectionResetError:
        return  # told as it is; a plain end is as good


def test_a_target_that_does_not_answer_closes_the_connection(relayed):
    one = relayed()
    one.target.close()
    assert one.connect().recv(1) == b""


def test_at_the_limit_connections_wait_for_a_place(relayed):
    one = relayed(connections=2)
    first, second = one.pair(), one.pair()
    third = one.connect()
    third.sendall(b"late")
    one.target.settimeout(0.2)
    with pytest.raises(TimeoutError):
        one.target.accept()
    one.target.settimeout(10)
    first[0].close()
    first[1].close()
    far, _ = one.target.accept()
    assert far.recv(4) == b"late"
    second[0].sendall(b"!")
    assert second[1].recv(1) == b"!"


def test_idle_connections_are_cut_and_busy_ones_are_not(relayed):
    one = relayed(idle_seconds=0.2)
    idle, busy = one.pair(), one.pair()
    until = time.monotonic() + 10
    idle[0].setblocking(False)
    while time.monotonic() < until:
        busy[0].sendall(b".")
        assert busy[1].recv(1) == b"."
        try:
            idle[0].recv(1)
            break
        except BlockingIOError:
            continue
        except ConnectionResetError:
            break
    else:
        pytest.fail("the idle connection was still there after 10 s")
    busy[0].sendall(b"!")
    assert busy[1].recv(1) == b"!"


def test_drop_cuts_what_a_job_left(relayed):
    one = relayed()
    near, far = one.pair()
    one.forwarder.drop("s")
    for sock in (near, far):
        try:
            assert sock.recv(1) == b""
        except ConnectionResetError:
            continue
    again = one.pair()
    again[0].sendall(b"x")
    assert again[1].recv(1) == b"x"
