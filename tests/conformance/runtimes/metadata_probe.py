"""Run in a network namespace of its own: a host beside it plays a cloud's metadata service. Does a slot reach it?

Prints a line for each address: "ADDRESS reached" or "ADDRESS not reached".
"""

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

from openhtc.agent.sandbox import linux
from openhtc.agent.sandbox.forwarder import Forwarder
from openhtc.agent.sandbox.network import Network

CONTROL = "203.0.113.9"
PLAYED = (CONTROL, "169.254.169.254", "169.254.170.2", "100.100.100.200")
PORT = 80


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def beside() -> int:
    """A process in another namespace that answers at all the played addresses; its pid."""
    ready_read, ready_write = os.pipe()
    go_read, go_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        linux.unshare(linux.CLONE_NEWNET)
        os.write(ready_write, b"1")
        os.read(go_read, 1)
        ip("link", "set", "lo", "up")
        ip("link", "set", "beside", "up")
        for address in PLAYED:
            ip("addr", "add", f"{address}/32", "dev", "lo")
        ip("addr", "add", "192.0.2.2/24", "dev", "beside")
        listeners = [socket.create_server((address, PORT)) for address in PLAYED]
        for listener in listeners:
            threading.Thread(target=serve, args=(listener,), daemon=True).start()
        os.write(ready_write, b"1")
        threading.Event().wait(60)
        os._exit(0)
    os.read(ready_read, 1)
    ip("link", "set", "lo", "up")
    ip("link", "add", "here", "type", "veth", "peer", "name", "beside")
    ip("link", "set", "beside", "netns", str(pid))
    ip("link", "set", "here", "up")
    ip("addr", "add", "192.0.2.1/24", "dev", "here")
    for address in PLAYED:
        ip("route", "add", f"{address}/32", "via", "192.0.2.2", "onlink", "dev", "here")
    os.write(go_write, b"1")
    os.read(ready_read, 1)
    return pid


def serve(listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        connection.sendall(b"credentials")
        connection.close()


def reached(address: str) -> bool:
    try:
        with socket.create_connection((address, PORT), 5) as connection:
            return connection.recv(100) == b"credentials"
    except OSError:
        return False


def main() -> None:
    pid = beside()
    assert all(reached(address) for address in PLAYED), "from the host itself"
    forwarder = Forwarder()
    network = Network("probe", [], forwarder, outside=True)
    network.open()

    def look() -> None:
        linux.setns(os.open(network.path, os.O_RDONLY), linux.CLONE_NEWNET)
        for address in PLAYED:
            print(address, "reached" if reached(address) else "not reached", flush=True)

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    network.close()
    forwarder.close()
    os.kill(pid, 9)
    os.waitpid(pid, 0)


if __name__ == "__main__":
    Path("/proc/self/comm").write_text("metadata-probe")
    sys.exit(main())
