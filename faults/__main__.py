"""Thousands of real jobs while everything around them breaks; afterwards nothing may be lost.

.venv/bin/python -m faults --jobs 10000 --faults 300 --seed 1
"""

import argparse
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from rich.console import Console

from faults.check import Findings, judge
from faults.inject import all_faults
from faults.place import NotPossible, Place, made
from faults.watch import Watcher
from faults.workload import Submitter
from openhtc.chaos.injector import Book, Done, inject
from openhtc.client import HtcError
from openhtc.telemetry import configure

PAUSE_SECONDS = 0.7
SETTLE_SECONDS = 300.0
_SHOWN = 50

progress = Console(stderr=True, highlight=False)
console = Console(highlight=False, soft_wrap=True)
began = time.monotonic()


def say(line: str) -> None:
    progress.print(f"[{time.monotonic() - began:7.1f}] {line}", markup=False, soft_wrap=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=10_000, help="at least so many; default %(default)s")
    parser.add_argument("--faults", type=int, default=300, help="default %(default)s")
    parser.add_argument("--seed", type=int, help="decides which faults come when; default: random")
    parser.add_argument("--only", action="append", help="only faults whose name begins so")
    parser.add_argument(
        "--former",
        type=Path,
        help="the Python of another release, of a tree that was set up: the second server and an agent are"
        " of that one and of this one by turns",
    )
    parser.add_argument("--report", type=Path, default=Path("faults.json"), help="default %(default)s")
    parser.add_argument("--keep-logs", type=Path, help="where to copy the logs of all programs to")
    options = parser.parse_args()
    if options.former is not None:
        options.former = options.former.absolute()
    if options.seed is None:
        options.seed = secrets.randbits(32)
    return options


def main() -> int:
    options = arguments()
    configure("warning", json=False)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # in order, so that nothing is left behind
    try:
        with made(options.report.with_suffix(".ledger"), say, options.former) as place:
            report = suffer(place, options)
            if options.keep_logs is not None:
                _copy_logs(place, options.keep_logs)
    except NotPossible as error:
        say(str(error))
        return 2
    options.report.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    _print(report)
    return 1 if report["violations"] else 0


def suffer(place: Place, options: argparse.Namespace) -> dict[str, object]:
    book, stop = Book(options.seed), threading.Event()
    submitter, watcher = Submitter(place, options.seed), Watcher(place)
    faults = [
        fault for fault in all_faults(place) if not options.only or fault.name.startswith(tuple(options.only))
    ]
    say(f"seed {options.seed}: {options.faults} faults of {len(faults)} kinds")
    at, began = time.monotonic(), time.time()
    try:
        inject(
            faults, book, most=options.faults, pause_seconds=PAUSE_SECONDS, stop=stop, tell=_tell(submitter)
        )
        while submitter.submitted.jobs < options.jobs:
            say(f"{submitter.submitted.jobs} of {options.jobs} jobs submitted")
            time.sleep(5)
    except KeyboardInterrupt:
        stop.set()
    seconds = time.monotonic() - at
    submitter.stop()
    settled = _settle(submitter)
    watcher.stop()
    say("checking every job against the ledger")
    findings = judge(place, submitter.submitted, _unheard(book, began))
    report = _report(book, findings, watcher, submitter, seconds, settled)
    return report if options.former is None else {"former_release": str(options.former), **report}


def _unheard(book: Book, began: float) -> list[tuple[float, float]]:
    """When an agent could not be heard while its jobs went on: it was stopped, or had no way to the server."""
    return [
        (began + done.at, began + done.at + done.seconds)
        for done in book.done
        if (done.name.startswith("stop ") and "agent" in done.name) or "agents and server" in done.name
    ]


def _tell(submitter: Submitter) -> Callable[[Done], None]:
    def tell(done: Done) -> None:
        say(f"{done.number:4} {done.name}: {done.what}; {submitter.submitted.jobs} jobs submitted")

    return tell


def _settle(submitter: Submitter) -> float | None:
    """Seconds until the last job had ended; None when some never do."""
    at = time.monotonic()
    while time.monotonic() - at < SETTLE_SECONDS:
        try:
            if (left := submitter.unfinished()) == 0:
                return round(time.monotonic() - at, 1)
            say(f"{left} jobs have not ended")
        except HtcError as error:
            say(f"the service does not answer: {error}")
        time.sleep(2)
    return None


def _report(
    book: Book, found: Findings, watcher: Watcher, submitter: Submitter, seconds: float, settled: float | None
) -> dict[str, object]:
    return {
        "seed": book.seed,
        "faults": len(book.done),
        "faults_by_kind": book.by_name(),
        "seconds": round(seconds, 1),
        "settled_seconds": settled,
        "jobs_accepted": found.jobs,
        "jobs_of_unanswered_requests": found.unknown_jobs,
        "unanswered_requests": submitter.submitted.unknown,
        "groups_cancelled": len(submitter.submitted.cancelled_at),
        "statuses": dict(found.statuses),
        "executions": found.executions,
        "jobs_ended_by_agent": dict(found.by_agent),
        "attempts_tried_again": dict(found.outcomes),
        "attempts_killed": found.killed,
        "limit_samples": watcher.samples,
        "limit_most_used": watcher.most_used,
        "logs_read": found.logs_read,
        "violations": found.violations + watcher.violations,
        "book": msgspec.to_builtins(book.done),
    }


def _print(report: dict[str, object]) -> None:
    for name, value in report.items():
        if name == "book":
            continue
        if isinstance(value, dict):
            console.print(f"{name}:")
            for key, count in value.items():
                console.print(f"  {count:6}  {key}", markup=False)
        elif isinstance(value, list):
            console.print(f"{name}: {len(value)}")
            for line in value[:_SHOWN]:
                console.print(f"  {line}", markup=False)
        else:
            console.print(f"{name}: {value}")


def _copy_logs(place: Place, to: Path) -> None:
    to.mkdir(parents=True, exist_ok=True)
    for log in (*place.folder.glob("*.log"), *place.layout.logs.glob("*.log*")):
        (to / log.name).write_bytes(log.read_bytes())


if __name__ == "__main__":
    sys.exit(main())
