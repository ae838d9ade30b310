"""What the runner's thread waits for: the sockets of the slots' programs, and what other threads have for it."""

import os
import select
import threading
from collections import deque
from collections.abc import Callable, Iterator

from openhtc.agent.native.place import Place


class Events:
    """Belongs to the runner's thread; ``wake``, ``later`` and ``aside`` may be called by any."""

    def __init__(self) -> None:
        self._by_descriptor: dict[int, Place] = {}
        self._inbox: deque[Callable[[], None]] = deque()
        self._epoll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._epoll.register(self._wake, select.EPOLLIN)

    def wake(self) -> None:
        os.eventfd_write(self._wake, 1)

    def later(self, what: Callable[[], None]) -> None:
        """Have it done by the runner's thread."""
        self._inbox.append(what)
        self.wake()

    def aside(self, what: Callable[[], None]) -> None:
        """Have it done by a thread of its own."""
        threading.Thread(target=what, name="slot-preparation", daemon=True).start()

    def wait(self, seconds: float) -> Iterator[tuple[Place, int]]:
        """The places whose sockets are ready, each with its epoll events, after at most ``seconds``."""
        for descriptor, events in self._epoll.poll(seconds, 64):
            if descriptor == self._wake:
                os.eventfd_read(self._wake)
            elif (place := self._by_descriptor.get(descriptor)) is not None:
                yield place, events

    def do_what_others_left(self) -> None:
        while self._inbox:
            self._inbox.popleft()()

    def listen(self, place: Place, *, reads: bool = True, waits: bool = False) -> None:
        """Watch the socket for what comes (``reads``), and for room where something waits to be sent."""
        descriptor = place.slot.fileno()
        if descriptor < 0:
            return
        events = (select.EPOLLIN if reads else 0) | (select.EPOLLOUT if waits else 0)
        if place.descriptor < 0:
            place.descriptor = descriptor
            self._by_descriptor[descriptor] = place
            self._epoll.register(descriptor, events)
        else:
            self._epoll.modify(descriptor, events)

    def stop_listening(self, place: Place) -> None:
        if place.descriptor >= 0:
            self._epoll.unregister(place.descriptor)
            del self._by_descriptor[place.descriptor]
            place.descriptor = -1
