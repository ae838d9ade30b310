"""What an agent has done since it started, for its operator."""

import threading
from collections import Counter

from openhtc.domain.enums import Outcome


class Counts:
    """Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._outcomes: Counter[Outcome] = Counter()
        self._started = 0
        self._log_lines = 0
        self._log_bytes = 0
        self._faults_in_a_row = 0

    @property
    def faults_in_a_row(self) -> int:
        """NODE_FAULTs since the last attempt that ended in another way."""
        return self._faults_in_a_row

    def started(self) -> None:
        with self._lock:
            self._started += 1

    def ended(self, outcome: Outcome) -> None:
        with self._lock:
            self._outcomes[outcome] += 1
            self._faults_in_a_row = self._faults_in_a_row + 1 if outcome is Outcome.NODE_FAULT else 0

    def shipped(self, lines: int, size: int) -> None:
        """Log lines were written to the object store, ``size`` bytes packed."""
        with self._lock:
            self._log_lines += lines
            self._log_bytes += size

    def summary(self) -> dict[str, int]:
        with self._lock:
            outcomes = {outcome.value.lower(): count for outcome, count in sorted(self._outcomes.items())}
            return {
                "started": self._started,
                "ended": self._outcomes.total(),
                "log_lines": self._log_lines,
                "log_bytes": self._log_bytes,
                **outcomes,
            }
