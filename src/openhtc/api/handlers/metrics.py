"""Metrics as Prometheus reads them."""

import asyncio
import gzip
import re
from typing import Annotated, Any

from litestar import MediaType, Response, get
from litestar.params import HeaderParameter

from openhtc.api.requests import Credential, WithCaller, WithServices
from openhtc.domain.exposition import MEDIA_TYPE

AcceptEncoding = Annotated[str | None, HeaderParameter(name="Accept-Encoding", required=False)]

_GZIP = re.compile(r"gzip(?:\s*;\s*q=(?P<weight>[01](?:\.[0-9]{0,3})?))?", re.IGNORECASE)
_LEVEL = 1
"""Repeated labels pack well at any level, and this one is the fastest."""


@get(
    "/htc/metrics", media_type=MediaType.TEXT, summary="Metrics of the workspace, in Prometheus' text format"
)
async def get_metrics(
    services: WithServices, caller: WithCaller, accept_encoding: AcceptEncoding = None
) -> Response[str]:
    """Packed with gzip for clients that name it in Accept-Encoding, plain for all others."""
    return await _answer(await services.metrics.of_workspace(caller), accept_encoding)


@get("/metrics", media_type=MediaType.TEXT, include_in_schema=False, credential=Credential.METRICS_KEY)
async def get_service_metrics(
    services: WithServices, accept_encoding: AcceptEncoding = None
) -> Response[str]:
    """All workspaces and the service itself, for the operator's own Prometheus."""
    return await _answer(await services.metrics.of_installation(), accept_encoding)


def takes_gzip(accept_encoding: str | None) -> bool:
    """Only when gzip is named: some clients send odd values and unpack nothing that they did not ask for."""
    for element in (accept_encoding or "").split(","):
        match = _GZIP.fullmatch(element.strip())
        if match is not None:
            return match["weight"] is None or float(match["weight"]) > 0
    return False


async def _answer(text: str, accept_encoding: str | None) -> Response[Any]:
    body, headers = text.encode(), {"Vary": "Accept-Encoding"}
    if takes_gzip(accept_encoding):
        body = await asyncio.to_thread(gzip.compress, body, _LEVEL)
        headers["Content-Encoding"] = "gzip"
    return Response(body, media_type=MEDIA_TYPE, headers=headers)


HANDLERS = [get_metrics]
