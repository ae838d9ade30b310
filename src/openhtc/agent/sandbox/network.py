"""The network of a slot: a namespace with its own loopback, the forwarded addresses, and maybe the outside.

Made once and joined by every container of the slot. It lives by an open descriptor, so nothing is left when
the agent is killed. slirp4netns, where there is one, carries traffic to the outside and nothing to the
host's loopback; it ends with us because it holds the other end of a pipe. The machine's own addresses lead
back into the namespace, so that what listens on them here is not what a job reaches.
"""

import fcntl
import os
import shutil
import socket
import struct
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import structlog

from openhtc.agent.runtimes.ending import wait_readable
from openhtc.agent.sandbox import linux
from openhtc.agent.sandbox.addresses import claim, not_for_jobs
from openhtc.agent.sandbox.forwarder import Forward, Forwarder

log = structlog.get_logger(__name__)

_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_SLIRP_SECONDS = 10.0
_COUNTERS_BYTES = 4096
_TUN = "/dev/net/tun"
DNS_OUTSIDE = "10.0.2.3"
"""Where slirp4netns answers name lookups."""


class Network:
    """One slot's namespace; open() and close() by one thread at a time, ``path`` from any. ``name`` is its own."""

    def __init__(self, name: str, forwards: list[Forward], forwarder: Forwarder, *, outside: bool) -> None:
        self._name = name
        self._forwards = forwards
        self._forwarder = forwarder
        self._outside = outside
        self._fd = self._counters = -1
        self._unused = b""
        self._slirp: subprocess.Popen[bytes] | None = None
        self._lifeline = -1

    @property
    def path(self) -> Path:
        """Can be opened by every process of this user while the agent lives."""
        return Path(f"/proc/{os.getpid()}/fd/{self._fd}")

    def open(self) -> None:
        """Idempotent. Raises OSError."""
        if self._fd >= 0:
            return
        made = _Made(self._forwards, not_for_jobs())
        try:
            _in_new_thread(made.make)
        except BaseException:
            made.discard()
            raise
        self._fd, self._counters = made.namespace, made.counters
        self._unused = os.pread(self._counters, _COUNTERS_BYTES, 0)
        try:
            self._forwarder.open(self._name, made.sockets)
            if self._outside:
                self._connect_outside()
        except BaseException:
            self.close()
            raise

    def drop_connections(self) -> None:
        """The job has ended: nothing of it goes on."""
        self._forwarder.drop(self._name)

    @property
    def used(self) -> bool:
        """Whether anything was sent since it was made, as the kernel's counters of IPv4, TCP and UDP tell.

        The next job would meet connections that are being closed, ports that stay taken and ways back for late answers.
        """
        return self._counters >= 0 and os.pread(self._counters, _COUNTERS_BYTES, 0) != self._unused

    def close(self) -> None:
        if self._fd < 0:
            return
        self._forwarder.close_slot(self._name)
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1
        if self._slirp is not None:
            self._slirp.terminate()
            self._slirp.wait()
            self._slirp = None
        os.close(self._fd)
        os.close(self._counters)
        self._fd = self._counters = -1

    def _connect_outside(self) -> None:
        ready_read, ready_write = os.pipe2(os.O_CLOEXEC)
        exit_read, self._lifeline = os.pipe2(os.O_CLOEXEC)
        command = ["slirp4netns", "--configure", "--mtu=65520", "--disable-host-loopback"]
        command += ["--enable-sandbox", "--enable-seccomp"]
        command += ["--ready-fd", str(ready_write), "--exit-fd", str(exit_read)]
        command += ["--netns-type=path", str(self.path), "tap0"]
        try:
            self._slirp = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(ready_write, exit_read),
                start_new_session=True,
            )
        finally:
            os.close(ready_write)
            os.close(exit_read)
        answer = os.read(ready_read, 1) if wait_readable(ready_read, _SLIRP_SECONDS) else b""
        os.close(ready_read)
        if answer != b"1":
            raise OSError("slirp4netns did not connect the network of a slot to the outside")


class _Made:
    """What the thread inside the new namespace makes for those outside."""

    def __init__(self, forwards: list[Forward], claimed: list[tuple[str, str]]) -> None:
        self._forwards = forwards
        self._claimed = claimed
        self.namespace = self.counters = -1
        self.sockets: list[tuple[socket.socket, Forward]] = []

    def discard(self) -> None:
        for sock, _ in self.sockets:
            sock.close()
        for descriptor in (self.namespace, self.counters):
            if descriptor >= 0:
                os.close(descriptor)

    def make(self) -> None:
        linux.unshare(linux.CLONE_NEWNET)
        self.namespace = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        self.counters = os.open("/proc/thread-self/net/snmp", os.O_RDONLY)
        _raise_loopback()
        claim(self._claimed)
        for forward in self._forwards:
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            self.sockets.append((sock, forward))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((forward.host, forward.port))


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sh22x", b"lo", 0)
        flags = struct.unpack("16sh22x", fcntl.ioctl(sock, _SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", flags | _IFF_UP))


def _in_new_thread(work: Callable[[], None]) -> None:
    """Run it in a thread of its own, which ends in the namespace it went to."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - handed to the caller, in whose name it runs
            failures.append(error)

    thread = threading.Thread(target=run, name="new-network")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


def outside_works() -> str | None:
    """Why jobs cannot reach the outside from here, as a sentence; None when they can, which is tried."""
    if shutil.which("slirp4netns") is None:
        return "jobs cannot reach the outside: the program slirp4netns is missing"
    try:
        os.close(os.open(_TUN, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return f"jobs cannot reach the outside: {_TUN} cannot be opened ({error.strerror})"
    forwarder = Forwarder()
    network = Network("trial", [], forwarder, outside=True)
    try:
        network.open()
    except OSError as error:
        return f"jobs cannot reach the outside: {error}"
    finally:
        network.close()
        forwarder.close()
    return None
