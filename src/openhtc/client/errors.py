"""What a failed request looks like to a program."""

import msgspec

from openhtc.domain.errors import OpenhtcError


class HtcError(OpenhtcError):
    """The service refused, or could not be reached (status 0, code UNREACHABLE)."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message, code=code)
        self.status = status

    def __str__(self) -> str:
        return (
            f"{self.message} ({self.code})"
            if not self.status
            else f"{self.message} ({self.status} {self.code})"
        )


class _Body(msgspec.Struct, rename="camel"):
    error: str | None = None
    error_type: str | None = None
    error_description: str | None = None
    message: str | None = None


def refusal(status: int, body: bytes) -> HtcError:
    """The error that an answer of 400 or above carries, whatever its body is."""
    try:
        said = msgspec.json.decode(body, type=_Body)
    except msgspec.MsgspecError:
        said = _Body(message=body.decode(errors="replace").strip()[:300] or None)
    code = said.error_type or said.error or f"HTTP_{status}"
    return HtcError(status, code, said.error_description or said.message or f"The service answered {status}")
