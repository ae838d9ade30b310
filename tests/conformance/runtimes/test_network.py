"""What a job reaches by the network: the forwarded addresses, maybe the outside, never the host's loopback."""

import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from openhtc.agent.sandbox.forwarder import Forward
from openhtc.agent.sandbox.sandbox import Sandbox


class Echo:
    """Answers every connection with what came, once the other side has said its last word."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self.socket.getsockname()[1]
        self.served = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            data = b""
            while piece := connection.recv(1 << 20):
                data += piece
            self.served += 1
            connection.sendall(b"heard:" + data)


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.socket.shutdown(socket.SHUT_RDWR)
    server.socket.close()


@pytest.fixture
def networked(bench_maker, slot_maker, mode, area, echo):
    """A bench in a sandbox of its own that forwards port 8080 to the echo server."""
    boxes: list[Sandbox] = []
    slots = []

    def make(*, outside: bool):
        box = Sandbox(
            mode,
            area / f"net-{outside}",
            forwards=[Forward("127.0.0.1", 8080, "127.0.0.1", echo.port)],
            outside=outside,
        )
        boxes.append(box)
        bench = bench_maker("unused")
        bench.slot, bench.runtime = slot_maker(box, "n")
        slots.append(bench.slot)
        return bench

    yield make
    for slot in slots:
        slot.close()
    for box in boxes:
        box.close()


def test_the_forwarded_address_works_and_its_neighbour_does_not(networked, echo):
    bench = networked(outside=False)
    ran = bench.sh("echo hello | nc 127.0.0.1 8080")
    assert ran.output == "heard:hello\n"
    ran = bench.sh(f"echo hello | nc -w 2 127.0.0.1 {echo.port} || echo refused")
    assert "refused" in ran.output and "heard" not in ran.output
    assert echo.served == 1


def test_large_bodies_and_many_connections(networked, echo):
    bench = networked(outside=False)
    one = "head -c 20000000 /dev/zero | nc 127.0.0.1 8080 | wc -c"
    assert bench.sh(one).output.split() == ["20000006"]
    many = "for i in $(seq 1 40); do echo $i | nc 127.0.0.1 8080 & done; wait"
    assert bench.sh(many).output.count("heard:") == 40


def test_a_slot_keeps_its_network_and_drops_a_jobs_connections(networked, echo, until):
    bench = networked(outside=False)
    container = bench.start("sh", "-c", "(echo x; sleep 1000) | nc 127.0.0.1 8080")
    until(lambda: _established(echo.port), lambda: _established(echo.port))
    container.kill()
    bench.finish(container, 0.0)
    until(lambda: not _established(echo.port), lambda: _established(echo.port))
    assert bench.sh("echo again | nc 127.0.0.1 8080").output == "heard:again\n"


@pytest.mark.parametrize(
    "use", ["echo x | nc 127.0.0.1 8080", "echo x | nc -u -w 1 127.0.0.1 9"], ids=["tcp", "udp"]
)
def test_a_network_that_was_used_is_not_met_by_the_next_job(networked, echo, use):
    bench = networked(outside=False)
    look = "cat /proc/net/snmp; wc -l < /proc/net/tcp; wc -l < /proc/net/udp"
    unused = bench.sh(look).output
    assert bench.sh(look).output == unused
    assert bench.sh(f"{use}; {look}").output != unused
    assert bench.sh(look).output == unused
    assert bench.sh(look).output == unused


def _established(port: int) -> list[str]:
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return [line for line in lines if line.split()[2].endswith(f":{port:04X}") and line.split()[3] == "01"]


def test_without_the_outside_there_is_only_loopback(networked):
    ran = networked(outside=False).sh(
        "ls /sys/class/net 2>/dev/null; ip -o link; cat /etc/resolv.conf; cat /etc/hosts"
    )
    assert [
        line.split(":")[1].strip()
        for line in ran.output.splitlines()
        if line[:1].isdigit() and "link" in line
    ] == ["lo"]
    assert "nameserver" not in ran.output
    assert "127.0.0.1\tlocalhost" in ran.output


def test_the_outside_without_the_hosts_loopback(networked, echo):
    if shutil.which("slirp4netns") is None:
        pytest.skip("the program slirp4netns is missing")
    bench = networked(outside=True)
    ran = bench.sh(
        f"ip -o link; cat /etc/resolv.conf; echo hello | nc 127.0.0.1 8080;"
        f"for a in 10.0.2.2 127.0.0.1; do echo x | nc -w 2 $a {echo.port} || echo unreached; done"
    )
    assert "tap0" in ran.output and "nameserver 10.0.2.3" in ran.output
    assert ran.output.count("heard:hello") == 1
    assert ran.output.count("unreached") == 2
    assert echo.served == 1


def test_no_network_of_a_job_leads_to_a_clouds_metadata():
    """A host in a namespace of its own plays the service; what else it answers at is reached."""
    if shutil.which("slirp4netns") is None:
        pytest.skip("the program slirp4netns is missing")
    probe = Path(__file__).with_name("metadata_probe.py")
    done = subprocess.run(
        ["unshare", "-n", sys.executable, probe], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.splitlines() == [
        "203.0.113.9 reached",
        "169.254.169.254 not reached",
        "169.254.170.2 not reached",
        "100.100.100.200 not reached",
    ], done.stderr
