"""What handlers take from a request besides its body: who calls, and where the next page lies."""

from enum import StrEnum
from typing import Annotated, Any, TypeAlias
from urllib.parse import parse_qsl, urlencode

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.handlers import BaseRouteHandler
from litestar.params import FromPath, QueryParameter
from msgspec import UNSET, UnsetType

from openhtc.api.services import Services
from openhtc.domain.errors import InvalidRequest
from openhtc.domain.identity import AgentKey, Caller

AnyRequest: TypeAlias = Request[Any, Any, State]
AnyConnection: TypeAlias = ASGIConnection[Any, Any, Any, State]

WithServices: TypeAlias = NamedDependency[Services]
WithCaller: TypeAlias = NamedDependency[Caller]
WithAgent: TypeAlias = NamedDependency[int]
"""The number of the calling agent."""
WithAgentKey: TypeAlias = NamedDependency[AgentKey]
PathText: TypeAlias = FromPath[str]
PathRegion: TypeAlias = FromPath[str]
"""Names that are no region are answered with 404 by whoever looks for one."""

PageIndex = Annotated[str, QueryParameter(name="pageIndex", required=False)]
PageSize = Annotated[int, QueryParameter(name="pageSize")]
DEFAULT_PAGE_SIZE = 100


async def services_of(state: State) -> Services:
    services: Services = state.services
    return services


class Credential(StrEnum):
    """What an operation asks for; a handler says it as ``credential=`` where it is not a bearer token."""

    BEARER = "bearer"
    KEY = "key"
    AGENT_KEY = "agent key"
    AGENT = "agent"
    METRICS_KEY = "metrics key"
    NONE = "none"
    """Nothing, or something that the handler looks at itself."""


async def authenticate(connection: AnyConnection, handler: BaseRouteHandler) -> None:
    """Guards every operation, before its parameters and its body are read. Raises Unauthorized.

    What the caller may do is for the services to say.
    """
    authentication = connection.app.state.services.authentication
    header = connection.headers.get("authorization")
    match handler.opt.get("credential", Credential.BEARER):
        case Credential.BEARER:
            connection.state.caller = await authentication.by_bearer(header)
        case Credential.KEY:
            connection.state.caller = await authentication.by_key(header)
        case Credential.AGENT_KEY:
            connection.state.agent_key = await authentication.agent_by_key(header)
        case Credential.AGENT:
            connection.state.agent_no = await authentication.agent_by_bearer(header)
        case Credential.METRICS_KEY:
            await authentication.metrics_by_key(header)
        case Credential.NONE:
            pass
        case unknown:
            raise AssertionError(f"handler {handler} asks for {unknown!r}")


_NOT_NULL = ("status", "cloudProvider", "enabled")


def refuse_null(request: AnyRequest) -> None:
    """The framework takes the text null for an absent value; in a query it is only a wrong one."""
    for name in _NOT_NULL:
        if "null" in request.query_params.getall(name, []):
            raise InvalidRequest(f"{name}: 'null' is no value of it; leave it out")


async def calling_user(request: AnyRequest) -> Caller:
    caller: Caller = request.state.caller
    return caller


async def joining_key(request: AnyRequest) -> AgentKey:
    key: AgentKey = request.state.agent_key
    return key


async def calling_agent(request: AnyRequest) -> int:
    agent_no: int = request.state.agent_no
    return agent_no


def next_page(request: AnyRequest, services: Services, cursor: str | None) -> str | UnsetType:
    """An absolute address at the same origin and path that the client used, with all its filters."""
    if cursor is None:
        return UNSET
    query = parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True)
    kept = [(name, value) for name, value in query if name not in ("pageIndex", "pageSize")]
    sizes = [(name, value) for name, value in query if name == "pageSize"][-1:]
    raw_path = request.scope.get("raw_path") or request.scope["path"].encode()
    path = raw_path.split(b"?", 1)[0].decode("latin-1")
    return f"{_origin(request, services)}{path}?{urlencode([*kept, *sizes, ('pageIndex', cursor)])}"


def _origin(request: AnyRequest, services: Services) -> str:
    scheme, host = request.scope["scheme"], request.headers.get("host", "")
    client = request.scope.get("client")
    if client is not None and client[0] in services.trusted_proxies:
        scheme = request.headers.get("x-forwarded-proto", scheme)
        host = request.headers.get("x-forwarded-host", host)
    return f"{scheme}://{host}"
