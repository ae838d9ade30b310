"""Tokens and who is who."""

from litestar import Response, get

from openhtc.api.requests import Credential, WithCaller, WithServices
from openhtc.api.schemas.identity import JsonWebKey, JsonWebKeySet, Token, TokenPayload, WhoAmI, whoami


@get("/.well-known/jwks.json", summary="Public keys that verify bearer tokens", credential=Credential.NONE)
async def get_keys(services: WithServices) -> JsonWebKeySet:
    keys = await services.tokens.keys()
    return JsonWebKeySet([JsonWebKey(**key) for key in keys.public()])


@get("/auth/token", summary="Exchange a key for a bearer token", credential=Credential.KEY)
async def get_token(services: WithServices, caller: WithCaller) -> Token:
    token, seconds = await services.authentication.bearer_for(caller)
    return Token(token, seconds)


@get("/auth/whoami", summary="The user behind an API key", credential=Credential.KEY)
async def get_whoami(caller: WithCaller) -> WhoAmI:
    return whoami(caller.user)


@get("/auth/token/whoami", summary="The claims of the bearer token")
async def get_token_whoami(caller: WithCaller) -> TokenPayload:
    # The answer has every claim that the token has, not only those that the description names.
    return Response(dict(caller.claims))  # type: ignore[return-value]


HANDLERS = [get_keys, get_token, get_whoami, get_token_whoami]
