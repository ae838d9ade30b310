"""What a path takes, as `Allow` says it."""

import re
from functools import lru_cache
from pathlib import Path

from litestar import Litestar
from litestar.datastructures import MutableScopeHeaders
from litestar.routes import HTTPRoute
from litestar.types import Message, Scope


def methods_of(app: Litestar, path: str) -> list[str]:
    """The methods that a path takes, in alphabetical order."""
    return next((methods for pattern, methods in _table(app) if pattern.fullmatch(path)), [])


async def complete_options(message: Message, scope: Scope) -> None:
    """The framework's answer to OPTIONS knows only the first handler of a path: name all of them."""
    if (
        message["type"] == "http.response.start"
        and scope.get("method") == "OPTIONS"
        and message["status"] == 204
    ):
        methods = methods_of(scope["litestar_app"], scope["path"])
        MutableScopeHeaders(message)["Allow"] = ", ".join(methods)


@lru_cache(maxsize=4)
def _table(app: Litestar) -> list[tuple[re.Pattern[str], list[str]]]:
    """Paths with fewer parameters first: a fixed name wins over a parameter at its place."""
    routes = sorted(
        (route for route in app.routes if isinstance(route, HTTPRoute)),
        key=lambda route: len(route.path_parameters),
    )
    return [(_pattern(route), sorted(route.methods)) for route in routes]


def _pattern(route: HTTPRoute) -> re.Pattern[str]:
    return re.compile("".join(_piece(part) for part in route.path_components) or "/")


def _piece(part: object) -> str:
    """A fixed part, or a parameter; one of the type path takes slashes too."""
    if isinstance(part, str):
        return "/" + re.escape(part)
    return "/.+" if getattr(part, "type", None) is Path else "/[^/]+"
