"""The steps of a whole measurement. Each starts what it needs and leaves nothing running."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType

from bench.control_plane import accept, queued, rate, reads, size
from bench.control_plane.durability import durability
from bench.control_plane.stack import Stack, running
from bench.control_plane.workplace import opened as workplace
from bench.end_to_end import against, itself
from bench.end_to_end.contenders import hyperqueue
from bench.soak import big_log
from bench.soak.parts import Watch
from bench.soak.place import make_place
from openhtc.bench import delays, share
from openhtc.bench.figures import Figures, Say, spread
from openhtc.bench.place import Place, opened
from openhtc.client import HtcClient

SLOTS = 2


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything: ``scale`` 1 is what the targets are about."""

    turns: int = 5
    scale: float = 1.0

    def jobs(self, number: int) -> int:
        return max(100, round(number * self.scale))


Step = Callable[[Sizes, Say], Figures]


@contextmanager
def _service(say: Say) -> Iterator[tuple[Stack, Place]]:
    """A new service with two slots, whose database syncs every commit."""
    with (
        running(None, say, vcpus=SLOTS) as stack,
        HtcClient.from_credentials(stack.data / "credentials.json") as client,
        opened(client, say) as place,
    ):
        yield stack, place


def _on_a_service(measure: Callable[[Place, Sizes, Say], Figures]) -> Step:
    """With the peaks of its parts' memory and the settings of its durability in the figures."""

    def step(sizes: Sizes, say: Say) -> Figures:
        with _service(say) as (stack, place):
            watch = Watch(stack)
            try:
                found = measure(place, sizes, say)
            finally:
                watch.stop()
            return {**found, "memory_peak_mib": dict(watch.peak), "durability": durability(stack)}

    return step


def _against(place: Place, sizes: Sizes, say: Say) -> Figures:
    return against.measure(place, sizes.jobs(10_000), sizes.turns, say)


def _more_jobs(place: Place, sizes: Sizes, say: Say) -> Figures:
    return itself.more_jobs(place, sizes.jobs(10_000), sizes.jobs(100_000), sizes.turns, say)


def _long_queue(place: Place, sizes: Sizes, say: Say) -> Figures:
    return itself.long_queue(place, sizes.jobs(10_000), sizes.jobs(1_000_000), sizes.turns, say)


def _delays(place: Place, sizes: Sizes, say: Say) -> Figures:
    return delays.measure(place, max(5, round(200 * min(1.0, sizes.scale))), say)


def _share(place: Place, sizes: Sizes, say: Say) -> Figures:
    return share.measure(place, SLOTS, sizes.turns, say, min(1.0, sizes.scale))


def _control_plane(module: ModuleType, *words: Callable[[Sizes], str]) -> Step:
    """One of bench.control_plane's measurements, with its defaults but for these words."""

    def step(sizes: Sizes, say: Say) -> Figures:
        parser = ArgumentParser()
        module.add_arguments(parser)
        options = parser.parse_args([word(sizes) for word in words])
        with running(None, say) as stack, workplace(stack, say) as place:
            found: Figures = module.run(place, options, say)
            return {**found, "durability": durability(stack)}

    return step


def _accept(sizes: Sizes, say: Say) -> Figures:
    """In turns with HyperQueue, which accepts tasks of the same number and runs none."""
    jobs, ours, theirs = sizes.jobs(1_000_000), list[Figures](), list[dict[str, float]]()
    for number in range(sizes.turns):
        with running(None, say) as stack, workplace(stack, say) as place:
            ours.append(accept.run(place, Namespace(jobs=jobs), say))
        theirs.append(hyperqueue(jobs, 0, ("/bin/true",)))
        say(
            f"turn {number + 1} of {sizes.turns}: {ours[-1]['seconds']} s, {theirs[-1]['accepted_seconds']:.1f} s"
        )
    seconds = [float(str(each["seconds"])) for each in ours]
    growth = [each["server_mib"] for each in ours]
    return {
        "jobs": jobs,
        "seconds": {
            "openhtc": spread(seconds),
            "HyperQueue": spread([each["accepted_seconds"] for each in theirs]),
        },
        "server_growth_mib": {
            "openhtc": spread([float(each["growth"]) for each in growth if isinstance(each, dict)]),
            "HyperQueue": spread([each["growth_mib"] for each in theirs]),
        },
        "ratio": spread(
            [other["accepted_seconds"] / one for one, other in zip(seconds, theirs, strict=True)]
        ),
        "last": ours[-1],
    }


def _log(sizes: Sizes, say: Say) -> Figures:
    gigabytes = min(1.0, max(0.25, sizes.scale))
    with running(None, say, vcpus=SLOTS) as stack:
        place = make_place(stack, "long log", say)
        with place.client:
            return big_log.run(place, Namespace(gigabytes=gigabytes, check=0.02 * gigabytes), say)


STEPS: dict[str, Step] = {
    "against": _on_a_service(_against),
    "more_jobs": _on_a_service(_more_jobs),
    "long_queue": _on_a_service(_long_queue),
    "delays": _on_a_service(_delays),
    "share": _on_a_service(_share),
    "log": _log,
    "control_plane": _control_plane(
        rate, lambda s: f"--jobs={s.jobs(20_000)}", lambda s: f"--turns={s.turns}"
    ),
    "accept": _accept,
    "queued": _control_plane(
        queued,
        lambda s: f"--jobs={s.jobs(10_000)}",
        lambda s: f"--short={s.jobs(10_000)}",
        lambda s: f"--long={s.jobs(1_000_000)}",
        lambda s: f"--turns={s.turns}",
    ),
    "reads": _control_plane(
        reads,
        lambda s: f"--jobs={max(5000, s.jobs(1_000_000))}",
        lambda s: f"--finished={max(3000, s.jobs(50_000))}",
        lambda s: f"--requests={max(5, round(300 * min(1.0, s.scale)))}",
    ),
    "bytes": _control_plane(size, lambda s: f"--jobs={s.jobs(1_000_000)}"),
}
