"""The demo's modules are programs beside each other, not a package: make them importable here."""

import sys
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"

for folder in (EXAMPLES, EXAMPLES / "circuit-yield"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
