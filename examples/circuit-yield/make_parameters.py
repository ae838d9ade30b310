"""Draw the Monte Carlo table: 1,000 manufactured circuits, each at its own temperature and supply.

Run once; parameters.csv is kept beside it, so that every run simulates the same circuits.
"""

import csv
import random
from pathlib import Path

ROWS = 1_000
SEED = 20_260_101

# name: (nominal, standard deviation), absolute. Process values are those of a 0.35 um CMOS process.
PROCESS = {
    "vton": (0.55, 0.025),  # threshold of NMOS, V
    "vtop": (-0.70, 0.028),  # threshold of PMOS, V
    "kpn": (170e-6, 7e-6),  # transconductance parameter of NMOS, A/V^2
    "kpp": (58e-6, 3e-6),  # transconductance parameter of PMOS, A/V^2
    "dvtpair": (0.0, 0.0020),  # threshold mismatch of the input pair, V
    "dvtload": (0.0, 0.0025),  # threshold mismatch of the mirror, V
    "rbias": (127e3, 9e3),  # bias resistor, ohm
    "rz": (1000.0, 80.0),  # nulling resistor, ohm
    "cc": (2e-12, 0.09e-12),  # compensation capacitor, F
    "cl": (5e-12, 0.25e-12),  # load, F
}
TEMPERATURE_C = (-40.0, 125.0)
SUPPLY_V = (3.0, 3.6)


def draw(index: int, source: random.Random) -> dict[str, str]:
    row = {
        "index": str(index),
        "temp": f"{source.uniform(*TEMPERATURE_C):.2f}",
        "supply": f"{source.uniform(*SUPPLY_V):.4f}",
    }
    return row | {name: f"{source.gauss(*spread):.6g}" for name, spread in PROCESS.items()}


def main() -> None:
    source = random.Random(SEED)
    rows = [draw(index, source) for index in range(ROWS)]
    target = Path(__file__).with_name("job") / "parameters.csv"
    with target.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(f"{target}: {len(rows)} rows")


if __name__ == "__main__":
    main()
