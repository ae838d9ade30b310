"""Does faults one after the other, by a seed, and keeps the book."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from threading import Event

from openhtc.chaos.faults import Fault, FaultNotDone


@dataclass(frozen=True, slots=True)
class Done:
    """One fault that was done. ``at`` and ``seconds`` are counted from the first."""

    number: int
    name: str
    what: str
    at: float
    seconds: float


@dataclass
class Book:
    seed: int
    done: list[Done] = field(default_factory=list)

    def by_name(self) -> dict[str, int]:
        return dict(sorted(Counter(each.name for each in self.done).items()))


def inject(
    faults: Sequence[Fault],
    book: Book,
    *,
    most: int | None,
    pause_seconds: float,
    stop: Event,
    tell: Callable[[Done], None],
) -> None:
    """Fault after fault until ``most`` were done or ``stop`` is set.

    The seed decides the order, the amounts and the pauses, each fault's apart from the others', so that a fault which
    could not be done changes nothing of the next.
    """
    order, began = Random(book.seed), time.monotonic()  # noqa: S311 - repeatable, no secret
    weights = [fault.weight for fault in faults]
    while not stop.is_set() and (most is None or len(book.done) < most):
        (fault,) = order.choices(faults, weights)
        own = Random(order.getrandbits(64))  # noqa: S311
        at = time.monotonic()
        try:
            what = fault.do(own, stop.wait)
        except FaultNotDone:
            stop.wait(0.2)
            continue
        now = time.monotonic()
        done = Done(len(book.done) + 1, fault.name, what, round(at - began, 3), round(now - at, 3))
        book.done.append(done)
        tell(done)
        stop.wait(own.uniform(0.2, 1.8) * pause_seconds)
