"""The web application: routes, dependencies, errors and the OpenAPI document."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from litestar import Litestar, Router
from litestar.config.app import AppConfig
from litestar.di import Provide
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Components, Reference, SecurityScheme
from litestar.types import ControllerRouterHandler

import openhtc
from openhtc.api import errors
from openhtc.api.handlers import (
    agents,
    clusters,
    dimensions,
    docs,
    health,
    identity,
    images,
    jobs,
    limits,
    metrics,
    projects,
    regions,
    retention,
    storage,
    tasks,
)
from openhtc.api.requests import (
    authenticate,
    calling_agent,
    calling_user,
    joining_key,
    refuse_null,
    services_of,
)
from openhtc.api.routes import complete_options
from openhtc.domain.errors import OpenhtcError

API_PREFIX = "/api/v1"
MAX_BODY_BYTES = 1024 * 1024
"""Of any operation that does not say another limit."""

Lifespan = Callable[[Litestar], AbstractAsyncContextManager[None]]

PUBLIC: Sequence[ControllerRouterHandler] = [
    *identity.HANDLERS,
    *projects.HANDLERS,
    *tasks.HANDLERS,
    *retention.HANDLERS,
    *images.HANDLERS,
    *jobs.HANDLERS,
    *storage.HANDLERS,
    *regions.HANDLERS,
    *dimensions.HANDLERS,
    *limits.HANDLERS,
    *clusters.HANDLERS,
    *metrics.HANDLERS,
]
FOR_USERS: Sequence[ControllerRouterHandler] = [
    Router(API_PREFIX, route_handlers=PUBLIC),
    Router("/", route_handlers=PUBLIC, include_in_schema=False),
    *docs.HANDLERS,
    images.grant_registry_access,
]
FOR_AGENTS: Sequence[ControllerRouterHandler] = agents.HANDLERS
FOR_OPERATORS: Sequence[ControllerRouterHandler] = [*health.HANDLERS, metrics.get_service_metrics]

_DEPENDENCIES = {
    "services": Provide(services_of),
    "caller": Provide(calling_user),
    "agent_no": Provide(calling_agent),
    "agent_key": Provide(joining_key),
}
_ERRORS: dict[Any, Any] = {
    OpenhtcError: errors.refused,
    ValidationException: errors.invalid,
    HTTPException: errors.http_error,
    RecursionError: errors.unreadable,
    UnicodeDecodeError: errors.unreadable,
    Exception: errors.crashed,
}


def create_app(
    lifespan: Sequence[Lifespan] = (), *, for_users: bool = True, for_agents: bool = True
) -> Litestar:
    """``for_users``: every public operation below /api/v1 and at the root. The lifespan puts ``services`` into the
    state.
    """
    return Litestar(
        route_handlers=[
            *(FOR_USERS if for_users else ()),
            *(FOR_AGENTS if for_agents else ()),
            *FOR_OPERATORS,
        ],
        dependencies=_DEPENDENCIES,
        guards=[authenticate],
        exception_handlers=_ERRORS,
        before_request=refuse_null,
        before_send=[complete_options],
        lifespan=list(lifespan),
        openapi_config=_description(),
        request_max_body_size=MAX_BODY_BYTES,
        on_app_init=[_quiet],
    )


def _quiet(config: AppConfig) -> AppConfig:
    """We log what crashes ourselves, through structlog."""
    config.logging_config = None
    return config


def _description() -> OpenAPIConfig:
    schemes: dict[str, SecurityScheme | Reference] = {
        "bearer": SecurityScheme(type="http", scheme="bearer", bearer_format="JWT"),
        "key": SecurityScheme(
            type="apiKey",
            name="Authorization",
            security_scheme_in="header",
            description="`Token <API key>` or `Refresh <refresh token>`",
        ),
    }
    return OpenAPIConfig(
        title="openhtc",
        version=openhtc.__version__,
        description="High Throughput Computing: projects, tasks, images and batches of small jobs.",
        components=Components(security_schemes=schemes),
        path=None,
        render_plugins=[],
        use_handler_docstrings=True,
    )
