"""Measures the control plane alone.

.venv/bin/python -m bench.control_plane rate --jobs 20000 --agents 4 --bundle 250 --json FILE
"""

import argparse
import sys
import time
from pathlib import Path
from types import ModuleType

import msgspec
from rich.console import Console

from bench.control_plane import accept, cancel, overload, queued, rate, reads, size, wake
from bench.control_plane.report import print_figures
from bench.control_plane.stack import StackFailed, running
from bench.control_plane.workplace import NotVerified, opened
from openhtc.domain.errors import OpenhtcError
from openhtc.telemetry import configure

MEASUREMENTS: dict[str, ModuleType] = {
    "rate": rate,
    "accept": accept,
    "cancel": cancel,
    "overload": overload,
    "queued": queued,
    "reads": reads,
    "bytes": size,
    "wake": wake,
}

progress = Console(stderr=True, highlight=False)
began = time.monotonic()


def say(line: str) -> None:
    progress.print(f"[{time.monotonic() - began:7.1f}] {line}", markup=False)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.control_plane", description=__doc__)
    verbs = parser.add_subparsers(dest="what", required=True)
    for name, module in MEASUREMENTS.items():
        verb = verbs.add_parser(name, help=module.HELP)
        module.add_arguments(verb)
        verb.add_argument("--json", type=Path, help="where to write every figure")
        verb.add_argument(
            "--data", type=Path, help="a service that runs; default: a new one, removed afterwards"
        )
    return parser.parse_args()


def main() -> int:
    options = arguments()
    configure("warning", json=False)
    try:
        with running(options.data, say) as stack, opened(stack, say) as place:
            figures = MEASUREMENTS[options.what].run(place, options, say)
    except (StackFailed, NotVerified, OpenhtcError) as error:
        say(str(error))
        return 1
    if options.json is not None:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=1))
    print_figures(options.what, figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
