"""The demo's arithmetic: yield, percentiles, and what its files say."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from aggregate import LIMITS, Limit, aggregate, percentile
from direct import differences
from hypothesis import given
from hypothesis import strategies as st
from report import as_json, table, write_csv, write_histogram
from rich.console import Console

GOOD = {
    "gain_db": 78.0,
    "bandwidth_mhz": 13.0,
    "phase_margin_deg": 65.0,
    "supply_ua": 200.0,
    "offset_mv": 0.5,
}


def circuit(index: int, **measures: float) -> dict[str, float]:
    return {"index": index} | GOOD | measures


CIRCUITS = [
    circuit(0),
    circuit(1, gain_db=73.9),
    circuit(2, offset_mv=-5.1, supply_ua=240.1),
    circuit(3, offset_mv=5.0, supply_ua=240.0, gain_db=74.0),
]


def test_limits_are_inclusive_and_may_be_open() -> None:
    assert Limit("a", "a", "V", at_least=1.0).passes(1.0)
    assert not Limit("a", "a", "V", at_least=1.0).passes(0.999)
    assert Limit("a", "a", "V", at_most=1.0).passes(-9e9)
    both = Limit("a", "a", "V", at_least=-1.0, at_most=1.0)
    assert [both.passes(value) for value in (-1.1, -1.0, 1.0, 1.1)] == [False, True, True, False]
    assert str(both) == "-1 to 1"


def test_yield_counts_circuits_and_reasons_count_limits() -> None:
    found = aggregate(CIRCUITS, expected=5)
    assert (found.circuits, found.passed, found.missing, found.yield_percent) == (4, 2, 1, 50.0)
    failures = {spread.limit.key: spread.failures for spread in found.spreads}
    assert failures == {
        "gain_db": 1,
        "bandwidth_mhz": 0,
        "phase_margin_deg": 0,
        "supply_ua": 1,
        "offset_mv": 1,
    }


def test_no_results_are_no_yield() -> None:
    found = aggregate([], expected=3)
    assert (found.circuits, found.missing, found.yield_percent, found.spreads) == (0, 3, 0.0, ())


@pytest.mark.parametrize(("percent", "expected"), [(0, 1.0), (50, 2.5), (100, 4.0), (1, 1.03), (99, 3.97)])
def test_percentiles_interpolate(percent: float, expected: float) -> None:
    assert percentile([4.0, 1.0, 3.0, 2.0], percent) == pytest.approx(expected)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50), st.floats(0, 100))
def test_percentiles_lie_between_the_extremes(values: list[float], percent: float) -> None:
    slack = 1e-9 * max(1.0, *map(abs, values))
    assert min(values) - slack <= percentile(values, percent) <= max(values) + slack


def test_csv_keeps_every_digit_and_names_broken_limits(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    write_csv(CIRCUITS, path)
    with path.open() as file:
        lines = list(csv.DictReader(file))
    assert [line["outside"] for line in lines] == ["", "gain_db", "supply_ua offset_mv", ""]
    assert differences(CIRCUITS, path) == []


def test_any_difference_from_direct_simulation_is_found(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    write_csv(CIRCUITS[:3], path)
    assert differences([circuit(0, gain_db=78.0001)], path) == [
        "row 0: gain_db is 78.0001 here and 78.0 there"
    ]
    assert len(differences([circuit(3)], path)) == len(LIMITS) + 1


def test_table_and_json_say_the_same(tmp_path: Path) -> None:
    found = aggregate(CIRCUITS, expected=4)
    said: dict[str, Any] = json.loads(json.dumps(as_json(found)))
    assert (said["yield_percent"], said["passed"], said["missing"]) == (50.0, 2, 0)
    console = Console(width=80, record=True, file=(tmp_path / "out").open("w"))
    console.print(table(found))
    text = console.export_text()
    assert "yield 50.0 % (2 of 4 circuits)" in text
    for limit in LIMITS:
        line = next(line for line in text.splitlines() if limit.title in line)
        assert f"{said['measures'][limit.key]['p50']:.2f}" in line
        assert str(limit) in line


def test_histogram_is_a_picture(tmp_path: Path) -> None:
    path = tmp_path / "histogram.png"
    write_histogram(CIRCUITS, aggregate(CIRCUITS, 4), path)
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG")
    assert len(data) > 10_000
