"""Loads the named statements of ``sql/*.sql``.

A file holds statements, each below a line ``-- name: what_it_does`` and a comment that says its purpose.
"""

from importlib.resources import files

_MARK = "-- name: "


def load(noun: str) -> dict[str, str]:
    """The statements of ``sql/<noun>.sql`` by name."""
    text = files("openhtc.storage").joinpath("sql", f"{noun}.sql").read_text()
    statements: dict[str, str] = {}
    for part in text.split(_MARK)[1:]:
        name, _, statement = part.partition("\n")
        statements[name.strip()] = statement.strip()
    return statements
