"""Cursors of paginated lists: opaque to clients, plain positions to us."""

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar, cast

import msgspec

from openhtc.domain.errors import InvalidRequest

Offset = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""A position that the database can compare with."""

T = TypeVar("T")
C = TypeVar("C")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """``cursor`` is None on the last page."""

    items: list[T]
    cursor: str | None


def encode_cursor(position: object) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).rstrip(b"=").decode()


def decode_cursor(text: str | None, shape: Any, start: C) -> C:
    """A value of ``shape``, the type of ``start`` with its bounds; ``start`` for an absent or empty cursor.

    Raises InvalidRequest for a cursor that we did not make.
    """
    if not text:
        return start
    try:
        raw = base64.b64decode(text.encode() + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
        return cast(C, msgspec.json.decode(raw, type=shape))
    except (binascii.Error, msgspec.DecodeError, UnicodeError, ValueError) as error:
        raise InvalidRequest(f"pageIndex: {text!r} is not a page of this list") from error


def clamp(page_size: int, largest: int) -> int:
    if page_size < 1:
        raise InvalidRequest(f"pageSize: {page_size} is below 1")
    return min(page_size, largest)


def cut(items: list[T], size: int, position: Callable[[T], object]) -> Page[T]:
    """Make a page of ``size`` out of up to size + 1 items; ``position`` says where the next one begins."""
    if len(items) <= size:
        return Page(items, None)
    return Page(items[:size], encode_cursor(position(items[size - 1])))
