"""Reading what the service answered."""

from typing import TypeVar

import msgspec

from openhtc.client.errors import HtcError

T = TypeVar("T")


def decode(data: bytes | msgspec.Raw, kind: type[T]) -> T:
    """Raises HtcError when the answer is not of this kind: something else listens at the address."""
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.MsgspecError as error:
        beginning = bytes(data)[:80].decode(errors="replace")
        text = f"The service's answer is not what was expected: {error}; it begins {beginning!r}"
        raise HtcError(200, "UNEXPECTED_ANSWER", text) from error
