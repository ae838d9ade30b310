"""Tokens and who is who."""

from litestar import Response, get, post
from litestar.datastructures import CacheControlHeader

from openhtc.api.errors import oauth2_refused
from openhtc.api.requests import AnyRequest, Credential, WithCaller, WithServices
from openhtc.api.schemas.identity import (
    JsonWebKey,
    JsonWebKeySet,
    OAuth2TokenBody,
    Token,
    TokenPayload,
    WhoAmI,
    whoami,
)
from openhtc.api.token_form import MAX_FORM_BYTES, TokenForm, read_token_request
from openhtc.domain.errors import OpenhtcError


@get("/.well-known/jwks.json", summary="Public keys that verify bearer tokens", credential=Credential.NONE)
async def get_keys(services: WithServices) -> JsonWebKeySet:
    """Tokens name the key by its `kid`. A new key appears here before it signs; a former one stays while its
    tokens live.
    """
    keys = await services.tokens.keys()
    return JsonWebKeySet([JsonWebKey(**key) for key in keys.public()])


@get("/auth/token", summary="Exchange a key for a bearer token", credential=Credential.KEY)
async def get_token(services: WithServices, caller: WithCaller) -> Token:
    """For an API key (`Token`), a refresh token or a job's refresh token (`Refresh`). A job's token reaches
    what that job may.
    """
    token, seconds = await services.authentication.bearer_for(caller)
    return Token(token, seconds)


@get("/auth/whoami", summary="The user behind an API key", credential=Credential.KEY)
async def get_whoami(caller: WithCaller) -> WhoAmI:
    """The user and the features of the workspace, such as `htc`."""
    return whoami(caller.user)


@get("/auth/token/whoami", summary="The claims of the bearer token")
async def get_token_whoami(caller: WithCaller) -> TokenPayload:
    """As they stand in the token. A job's token also names its job, and carries the claims of its submission."""
    # The answer has every claim that the token has, not only those that the description names.
    return Response(dict(caller.claims))  # type: ignore[return-value]


@post(
    "/oauth2/token",
    status_code=200,
    summary="A bearer token by OAuth 2.0",
    credential=Credential.NONE,
    form=TokenForm,
    cache_control=CacheControlHeader(no_store=True),
    request_max_body_size=MAX_FORM_BYTES,
    exception_handlers={OpenhtcError: oauth2_refused},
)
async def get_oauth2_token(request: AnyRequest, services: WithServices) -> OAuth2TokenBody:
    """RFC 6749: `client_credentials` with an API key as the client's secret, in the form or in HTTP Basic, and
    `refresh_token`. `error` is a code of the standard; a wrong secret is a 400, too."""
    token, seconds = await services.oauth2.token(await read_token_request(request))
    return OAuth2TokenBody(token, "Bearer", seconds)


HANDLERS = [get_keys, get_token, get_whoami, get_token_whoami, get_oauth2_token]
