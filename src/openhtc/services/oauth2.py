"""The token endpoint of RFC 6749, for clients that bring an OAuth 2.0 library."""

from dataclasses import dataclass

from openhtc.domain.errors import InvalidRequest, Unauthorized
from openhtc.domain.identity import Caller
from openhtc.services.authentication import Authentication

GRANTS = ("client_credentials", "refresh_token")


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """What was asked; None for what was not said. ``secret`` is the client's: an API key.

    There is no client id here: the key alone says who calls.
    """

    grant_type: str | None
    secret: str | None
    refresh_token: str | None


class OAuth2:
    def __init__(self, authentication: Authentication) -> None:
        self._authentication = authentication

    async def token(self, asked: TokenRequest) -> tuple[str, int]:
        """A bearer token and its lifetime in seconds.

        Raises InvalidRequest with a code of RFC 6749: also a wrong secret is that, and not Unauthorized.
        """
        match asked.grant_type:
            case "client_credentials":
                caller = await self._client(asked.secret)
            case "refresh_token":
                caller = await self._refreshed(asked)
            case None:
                raise refusal("invalid_request", f"grant_type: missing, expected {' or '.join(GRANTS)}")
            case other:
                shown = f"grant_type: {other[:100]!r} is none of {', '.join(GRANTS)}"
                raise refusal("unsupported_grant_type", shown)
        return await self._authentication.bearer_for(caller)

    async def _client(self, secret: str | None) -> Caller:
        if secret is None:
            raise refusal("invalid_client", "client_secret: missing, expected an API key")
        try:
            return await self._authentication.by_secret("token", secret)
        except Unauthorized as error:
            raise refusal("invalid_client", f"client_secret: {error.message}") from error

    async def _refreshed(self, asked: TokenRequest) -> Caller:
        """A client that shows its secret too must be the one that the refresh token was made for."""
        if asked.refresh_token is None:
            raise refusal("invalid_request", "refresh_token: missing")
        client = None if asked.secret is None else await self._client(asked.secret)
        try:
            caller = await self._authentication.by_secret("refresh", asked.refresh_token)
        except Unauthorized as error:
            raise refusal("invalid_grant", f"refresh_token: {error.message}") from error
        if client is not None and client.user.id != caller.user.id:
            raise refusal("invalid_grant", "refresh_token: it is not the one of the user of client_secret")
        return caller


def refusal(code: str, message: str) -> InvalidRequest:
    """``code`` is one of RFC 6749, section 5.2."""
    return InvalidRequest(message, code=code)
