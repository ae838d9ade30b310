"""A client that reads: one connection that stays open, one request after the other, each one timed."""

import http.client
import time
from collections.abc import Iterable
from urllib.parse import urlsplit

import msgspec

Question = tuple[str, str]
"""What is asked, as the figures name it, and the path with its query, after the origin."""


class _Page(msgspec.Struct):
    items: list[msgspec.Raw] = []


class Answered(msgspec.Struct):
    """What became of the questions of one kind."""

    seconds: list[float] = []
    items: list[int] = []
    """How many items each page had; 0 for what is no page."""


def read(origin: str, bearer: str, questions: Iterable[Question]) -> dict[str, Answered]:
    """Ask everything in order. Raises ValueError for an answer that is not a 200."""
    parts = urlsplit(origin)
    kind_of = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind_of(parts.hostname or "", parts.port, timeout=60)
    headers = {"Authorization": f"Bearer {bearer}"}
    found: dict[str, Answered] = {}
    for kind, path in questions:
        began = time.monotonic()
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        content = answer.read()
        took = time.monotonic() - began
        if answer.status != 200:
            raise ValueError(f"{path}: {answer.status} {content[:300]!r}")
        kept = found.setdefault(kind, Answered())
        kept.seconds.append(took)
        kept.items.append(len(msgspec.json.decode(content, type=_Page).items))
    connection.close()
    return found
