"""Migrations only add, so that servers of the release before work beside those of this one."""

import re

import pytest

from openhtc.storage.migrations import available

FIRST_RELEASE = 5
"""What the schema was when side by side began to matter."""

TAKES_AWAY = re.compile(
    r"\bDROP\s+(TABLE|COLUMN|VIEW|TYPE|SEQUENCE)|\bRENAME\b|\bALTER\s+COLUMN\s+\w+\s+(TYPE|SET\s+NOT\s+NULL)|"
    r"\bADD\s+COLUMN\s+(?![^,;]*\bDEFAULT\b)[^,;]*\bNOT\s+NULL",
    re.IGNORECASE,
)


def test_numbers_have_no_gap() -> None:
    numbers = [number for number, _ in available()]
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("number, statements", available(), ids=lambda value: str(value)[:4])
def test_nothing_that_the_release_before_uses_is_taken_away(number: int, statements: str) -> None:
    if number > FIRST_RELEASE:
        assert TAKES_AWAY.findall(statements) == []


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE jobs DROP COLUMN reason",
        "ALTER TABLE jobs RENAME COLUMN idx TO index",
        "ALTER TABLE jobs ALTER COLUMN cpu_ms TYPE int",
        "ALTER TABLE jobs ADD COLUMN x int NOT NULL",
        "DROP TABLE attempts",
    ],
)
def test_what_takes_away_is_found(statement: str) -> None:
    assert TAKES_AWAY.search(statement)


@pytest.mark.parametrize(
    "statement", ["ALTER TABLE jobs ADD COLUMN x int NOT NULL DEFAULT 0", "CREATE TABLE t (x int NOT NULL)"]
)
def test_what_adds_is_not(statement: str) -> None:
    assert not TAKES_AWAY.search(statement)
