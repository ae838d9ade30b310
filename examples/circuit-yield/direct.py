"""The same simulations without the service: the image's own programs, started by bubblewrap.

    python3 examples/circuit-yield/direct.py 0 1 2
    python3 examples/circuit-yield/direct.py 0 1 2 --against demo-output/results.csv

The first prints one line of JSON for each row of the table, the second compares these numbers with those
of the service's jobs: they must be the same to the last digit.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from build_image import build

from openhtc.client.images.layout import Image, unpack

_EACH_ROW = 'for row in "$@"; do /circuit/simulate.sh "$row" result.json && cat result.json || exit; done'


def simulate(image: Image, rows: Sequence[int]) -> list[dict[str, float]]:
    """The results of these rows, in their order. Raises CalledProcessError when a simulation fails."""
    with tempfile.TemporaryDirectory() as folder:
        unpack(image, Path(folder))
        done = subprocess.run(
            [
                "bwrap", "--ro-bind", folder, "/", "--dev", "/dev", "--ro-bind", "/proc", "/proc",
                "--tmpfs", "/tmp", "--unshare-net", "--die-with-parent", "--clearenv",
                "--setenv", "PATH", "/usr/bin", "--chdir", "/tmp", "/usr/bin/sh", "-c", _EACH_ROW,
                "sh", *map(str, rows),
            ],
            stdout=subprocess.PIPE,
            check=True,
        )  # fmt: skip
    return [json.loads(line) for line in done.stdout.splitlines()]


def differences(direct: Sequence[dict[str, float]], written: Path) -> list[str]:
    """What in a results.csv of the service is not exactly what these simulations gave."""
    with written.open(newline="") as file:
        by_index = {int(line["index"]): line for line in csv.DictReader(file)}
    found = []
    for result in direct:
        line = by_index.get(int(result["index"]))
        for key, value in result.items():
            if line is None or float(line[key]) != value:
                found.append(f"row {result['index']}: {key} is {value} here and {line and line[key]} there")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="Simulate rows of the table without the service.")
    parser.add_argument("rows", type=int, nargs="+")
    parser.add_argument("--against", type=Path, metavar="CSV", help="compare with the demo's results.csv")
    options = parser.parse_args()
    results = simulate(build(lambda text: print(text, file=sys.stderr)), options.rows)
    if options.against is None:
        for result in results:
            print(json.dumps(result))
        return 0
    found = differences(results, options.against)
    print("\n".join(found) or f"{len(results)} rows are the same")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
