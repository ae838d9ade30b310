"""Long runs on the real service.

.venv/bin/python -m bench.soak run --jobs 20000
"""

import argparse
import sys
import time
from pathlib import Path
from types import ModuleType

import msgspec
from rich.console import Console

from bench.control_plane.report import print_figures
from bench.control_plane.stack import StackFailed, running
from bench.soak import big_log, run
from bench.soak.big_log import LogIncomplete
from bench.soak.place import CannotBuild, make_place
from openhtc.domain.errors import OpenhtcError
from openhtc.telemetry import configure

VERBS: dict[str, ModuleType] = {"run": run, "big-log": big_log}

progress = Console(stderr=True, highlight=False)
began = time.monotonic()


def say(line: str) -> None:
    progress.print(f"[{time.monotonic() - began:7.1f}] {line}", markup=False, soft_wrap=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    verbs = parser.add_subparsers(dest="what", required=True)
    for name, module in VERBS.items():
        verb = verbs.add_parser(name, help=module.HELP)
        module.add_arguments(verb)
        verb.add_argument("--json", type=Path, help="where to write every figure")
        verb.add_argument(
            "--data", type=Path, help="a service that runs; default: a new one, removed afterwards"
        )
        verb.add_argument("--vcpus", type=int, default=8, help="of a new service; default %(default)s")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    configure("warning", json=False)
    try:
        with running(options.data, say, vcpus=options.vcpus) as stack:
            place = make_place(stack, f"soak {options.what}", say)
            with place.client:
                figures = VERBS[options.what].run(place, options, say)
    except (StackFailed, CannotBuild, LogIncomplete, TimeoutError, OpenhtcError) as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    print_figures(options.what, figures)
    problems = figures.get("problems")
    if options.json is not None:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=2) + b"\n")
    for problem in problems if isinstance(problems, list) else []:
        say(f"problem: {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
