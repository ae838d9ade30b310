"""The form of the token endpoint (RFC 6749), read so that every flaw gets the code that the standard gives it."""

import base64
import binascii
from typing import Annotated
from urllib.parse import parse_qsl, unquote_plus

from litestar.enums import RequestEncodingType
from msgspec import Meta, Struct

from openhtc.api.requests import AnyRequest
from openhtc.services.oauth2 import GRANTS, TokenRequest, refusal

MAX_FORM_BYTES = 64 * 1024
_MAX_FIELDS = 100
_FORM = RequestEncodingType.URL_ENCODED.value


class TokenForm(Struct, frozen=True):
    """Other fields are ignored. The key may stand in HTTP Basic instead, as the password."""

    grant_type: Annotated[str, Meta(extra_json_schema={"enum": list(GRANTS)})]
    client_secret: Annotated[str, Meta(description="An API key; for client_credentials")] | None = None
    client_id: Annotated[str, Meta(description="Anything: the key says who calls")] | None = None
    refresh_token: Annotated[str, Meta(description="A user's, or a job's own; for refresh_token")] | None = (
        None
    )


async def read_token_request(request: AnyRequest) -> TokenRequest:
    """Raises InvalidRequest with a code of RFC 6749."""
    if request.content_type[0] != _FORM:
        found = request.content_type[0] or "nothing"
        raise refusal("invalid_request", f"Content-Type: {found}, expected {_FORM}")
    fields = _fields(await request.body())
    client_id, secret = _basic(request.headers.get("authorization"))
    if secret is not None:
        if "client_secret" in fields:
            raise refusal(
                "invalid_request", "client_secret: say it in the form or in HTTP Basic, not in both"
            )
        if fields.get("client_id", client_id) != client_id:
            raise refusal("invalid_request", "client_id: another one than in HTTP Basic")
    return TokenRequest(
        fields.get("grant_type"), secret or fields.get("client_secret"), fields.get("refresh_token")
    )


def _fields(body: bytes) -> dict[str, str]:
    """Empty fields count as left out; a field that stands twice is refused, whatever it says."""
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS)
    except ValueError as error:
        raise refusal("invalid_request", f"the form cannot be read: {error}") from None
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise refusal("invalid_request", f"{name[:100]}: given {names.count(name)} times, expected once")
    return {name: value for name, value in pairs if value}


def _basic(header: str | None) -> tuple[str, str | None]:
    """Client id and secret of HTTP Basic, each form-encoded within; no secret when there is no header."""
    if header is None:
        return "", None
    scheme, _, encoded = header.strip().partition(" ")
    try:
        name, colon, secret = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        colon = ""
    if scheme.lower() != "basic" or not colon:
        raise refusal("invalid_client", "Authorization: expected Basic <client id>:<API key>, in base64")
    return unquote_plus(name), unquote_plus(secret)
