"""Chaos in an installation of one machine: faults for a while, then a look whether everything is back."""

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from openhtc.chaos.faults import Fault
from openhtc.chaos.injector import Book, Done, inject
from openhtc.embedded.layout import DataLayout
from openhtc.embedded.report import inspect

RECOVERY_SECONDS = 180.0
_LOOK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Outcome:
    """``recovered_seconds``: from the last fault until every part was healthy; None when that did not happen."""

    seed: int
    faults: list[Done]
    by_name: dict[str, int]
    recovered_seconds: float | None


def run_chaos(
    layout: DataLayout,
    faults: list[Fault],
    *,
    seed: int,
    seconds: float,
    pause_seconds: float,
    tell: Callable[[Done], None],
) -> Outcome:
    """Faults for so many seconds, or until Ctrl-C."""
    book, stop = Book(seed), threading.Event()
    timer = threading.Timer(seconds, stop.set)
    timer.start()
    try:
        inject(faults, book, most=None, pause_seconds=pause_seconds, stop=stop, tell=tell)
    except KeyboardInterrupt:
        stop.set()
    finally:
        timer.cancel()
    return Outcome(seed, book.done, book.by_name(), wait_until_healthy(layout))


def wait_until_healthy(layout: DataLayout) -> float | None:
    """Seconds until every part was healthy; None when that takes longer than RECOVERY_SECONDS."""
    began = time.monotonic()
    while (passed := time.monotonic() - began) < RECOVERY_SECONDS:
        if asyncio.run(inspect(layout)).healthy:
            return round(passed, 1)
        time.sleep(_LOOK_SECONDS)
    return None
