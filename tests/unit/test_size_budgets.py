"""The size budgets of the source: what a reader has to take in at once stays small."""

import ast
import statistics
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "openhtc"
FILE_LIMIT = 400
MEDIAN_FILE_LIMIT = 150
FUNCTION_LIMIT = 50
MEDIAN_FUNCTION_LIMIT = 15
FORBIDDEN_NAMES = {"utils", "util", "common", "helpers", "helper", "manager", "misc"}

FILES = sorted(SOURCE.rglob("*.py"))


def lines_of(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def functions_of(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    assert function.end_lineno is not None
    return function.end_lineno - function.lineno + 1


def test_the_source_is_found() -> None:
    assert len(FILES) > 20, f"only {len(FILES)} files below {SOURCE}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_file_is_too_long(path: Path) -> None:
    assert lines_of(path) <= FILE_LIMIT


def test_half_of_the_files_are_short() -> None:
    assert statistics.median(lines for path in FILES if (lines := lines_of(path)) > 0) < MEDIAN_FILE_LIMIT


def test_no_function_is_too_long() -> None:
    found = [
        f"{path.relative_to(SOURCE)}:{function.lineno} {function.name} has {length(function)} lines"
        for path in FILES
        for function in functions_of(path)
        if length(function) > FUNCTION_LIMIT
    ]
    assert found == []


def test_half_of_the_functions_are_short() -> None:
    assert (
        statistics.median(length(each) for path in FILES for each in functions_of(path))
        <= MEDIAN_FUNCTION_LIMIT
    )


def test_every_module_is_named_for_what_it_does() -> None:
    named = {part: path for path in FILES for part in path.relative_to(SOURCE).with_suffix("").parts}
    assert sorted(FORBIDDEN_NAMES & named.keys()) == []
