"""The networks of an agent's slots: made when they are needed, and ahead once jobs have begun to use them up."""

import itertools
import threading
from collections import deque

import structlog

from openhtc.agent.sandbox.forwarder import Forward, Forwarder
from openhtc.agent.sandbox.network import Network

log = structlog.get_logger(__name__)

SPARE = 2
"""So many are kept ready from the first exchange on."""
_AGAIN_SECONDS = 5.0
"""After one could not be made ahead."""


class Networks:
    """Thread-safe. ``forwards`` may be filled until the first network is made."""

    def __init__(self, forwards: list[Forward], forwarder: Forwarder, *, outside: bool) -> None:
        self._forwards, self._forwarder, self._outside = forwards, forwarder, outside
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._spares: deque[Network] = deque()
        self._used: deque[Network] = deque()
        self._closing = False
        self._thread: threading.Thread | None = None

    def make(self) -> Network:
        """An open network that nobody has used. Raises OSError."""
        name = f"network-{next(self._numbers)}"
        network = Network(name, self._forwards, self._forwarder, outside=self._outside)
        network.open()
        return network

    def exchange(self, used: Network) -> Network:
        """Another one for one that was used, which is closed behind the caller's back. Raises OSError."""
        with self._changed:
            self._used.append(used)
            fresh = self._spares.popleft() if self._spares else None
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="networks", daemon=True)
                self._thread.start()
            self._changed.notify()
        return fresh if fresh is not None else self.make()

    def close(self) -> None:
        """Close what nobody has. The others are closed by those who have them."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()
        for network in (*self._spares, *self._used):
            _close(network)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._closing and not self._used and len(self._spares) >= SPARE:
                    self._changed.wait()
                if self._closing:
                    return
                missing = len(self._spares) < SPARE
                used = self._used.popleft() if self._used else None
            made = not missing or self._make_ahead()
            if used is not None:
                _close(used)
            if not made:
                self._pause()

    def _make_ahead(self) -> bool:
        try:
            network = self.make()
        except OSError as error:
            log.warning("no_spare_network", error=str(error))
            return False
        with self._changed:
            self._spares.append(network)
        return True

    def _pause(self) -> None:
        with self._changed:
            if not self._closing:
                self._changed.wait(_AGAIN_SECONDS)


def _close(network: Network) -> None:
    try:
        network.close()
    except (
        Exception
    ):  # loop border: an agent goes on without having closed a network that nobody has any more
        log.exception("network_not_closed")
