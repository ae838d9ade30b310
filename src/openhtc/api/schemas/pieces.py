"""Pieces that several bodies share."""

from typing import Annotated

from msgspec import Meta, Struct

ReadOnly = Meta(extra_json_schema={"readOnly": True})

Moment = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
"""RFC 3339 in UTC, ending in Z."""


class ErrorBody(Struct, frozen=True, rename="camel"):
    """Every refusal: the code stands in both members that clients look at, and so does the text."""

    error: str
    error_type: str
    error_description: str
    message: str
