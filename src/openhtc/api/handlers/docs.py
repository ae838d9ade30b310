"""The description of the API: as a document, and as a page to browse and try it."""

import importlib.util
from pathlib import Path
from typing import Any

from litestar import MediaType, Response, get
from litestar.static_files import create_static_files_router
from litestar.types import ControllerRouterHandler

from openhtc.api.description import describe
from openhtc.api.requests import AnyRequest, Credential

# The package's files are all that we need of it: it is not imported.
_PACKAGE = "flask_swagger_ui"
_POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'"
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>openhtc API</title>
<link rel="stylesheet" href="docs/files/swagger-ui.css">
</head>
<body>
<div id="page"></div>
<script src="docs/files/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
_START = """
window.onload = () => SwaggerUIBundle({
  url: "q/openapi", dom_id: "#page", deepLinking: true, docExpansion: "none", validatorUrl: null
});
"""


def _files() -> Path:
    spec = importlib.util.find_spec(_PACKAGE)
    assert spec is not None and spec.submodule_search_locations, f"the server is installed with {_PACKAGE}"
    return Path(spec.submodule_search_locations[0]) / "dist"


@get("/q/openapi", include_in_schema=False, credential=Credential.NONE)
async def get_description(request: AnyRequest) -> dict[str, Any]:
    """The OpenAPI document of this server."""
    return describe(request.app)


@get("/docs", include_in_schema=False, credential=Credential.NONE, media_type=MediaType.HTML)
async def get_page() -> Response[str]:
    """Everything on it comes from this server."""
    return Response(_PAGE, media_type=MediaType.HTML, headers={"Content-Security-Policy": _POLICY})


@get("/docs/start.js", include_in_schema=False, credential=Credential.NONE)
async def get_start() -> Response[str]:
    return Response(_START, media_type="text/javascript")


HANDLERS: list[ControllerRouterHandler] = [
    get_description,
    get_page,
    get_start,
    create_static_files_router(
        "/docs/files", directories=[_files()], opt={"credential": Credential.NONE}, include_in_schema=False
    ),
]
