"""How long to wait before something that failed is tried again."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Backoff:
    """Doubling delays with a cap, all in seconds.

    A run that lasted ``settled`` seconds or more was healthy: the next failure starts from ``first`` again.
    """

    first: float = 0.5
    cap: float = 30.0
    settled: float = 60.0
    _next: float = field(default=0.0, init=False)

    def delay_after(self, lasted: float) -> float:
        """The delay after a run of ``lasted`` seconds has ended."""
        if lasted >= self.settled or self._next == 0.0:
            self._next = self.first
        delay = self._next
        self._next = min(self.cap, self._next * 2)
        return delay
