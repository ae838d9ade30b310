"""Everything that `make bench` measures: the service, its parts, and other runners, on this machine.

.venv/bin/python -m bench                         all of it, about an hour
.venv/bin/python -m bench against accept          two of its steps
"""

import argparse
import sys
import time
from pathlib import Path

from rich.console import Console

from bench import results
from bench.control_plane.stack import StackFailed
from bench.control_plane.workplace import NotVerified
from bench.soak.big_log import LogIncomplete
from bench.steps import STEPS, Sizes
from bench.targets import print_table
from openhtc.domain.errors import OpenhtcError
from openhtc.telemetry import configure

progress = Console(stderr=True, highlight=False)
began = time.monotonic()


def say(line: str) -> None:
    progress.print(f"[{time.monotonic() - began:7.1f}] {line}", markup=False, soft_wrap=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("steps", nargs="*", metavar="step", help=f"one of: {', '.join(STEPS)}; default: all")
    parser.add_argument("--turns", type=int, default=5, help="turns of each; default %(default)s")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="factor for all numbers of jobs; default %(default)s"
    )
    parser.add_argument(
        "--results", type=Path, default=Path("bench/results"), help="folder; default %(default)s"
    )
    parser.add_argument("--plot", type=Path, help="a PNG of the figures; default: none")
    options = parser.parse_args()
    for step in options.steps:
        if step not in STEPS:
            parser.error(f"there is no step {step!r}: one of {', '.join(STEPS)}")
    return options


def main() -> int:
    options = arguments()
    configure("warning", json=False)
    sizes = Sizes(turns=options.turns, scale=options.scale)
    file = results.Results.new(options.results)
    failed = 0
    for name in options.steps or list(STEPS):
        say(f"== {name}")
        try:
            file.add(name, STEPS[name](sizes, say))
        except (StackFailed, NotVerified, LogIncomplete, OpenhtcError, TimeoutError) as error:
            say(f"{name}: {error}")
            failed += 1
        except KeyboardInterrupt:
            say(f"{name}: interrupted; what was measured before stays")
            failed += 1
            break
    missed = print_table(file.figures)
    say(f"wrote {file.path}")
    if options.plot is not None:
        from bench.plot import write_plot

        write_plot(file, options.plot)
        say(f"wrote {options.plot}")
    return 1 if failed or missed else 0


if __name__ == "__main__":
    sys.exit(main())
