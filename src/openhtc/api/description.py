"""The OpenAPI document: what the framework says of routes and parameters, and what only we know.

Schemas come from the message structs themselves, so that bounds, formats and descriptions are those that are enforced.
"""

import re
from collections.abc import Iterator
from typing import Any, get_args

import msgspec
from litestar import Litestar
from litestar.enums import RequestEncodingType
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from openhtc.api.links import add_links
from openhtc.api.members import describe_members
from openhtc.api.requests import Credential
from openhtc.api.schemas.identity import OAuth2ErrorBody
from openhtc.api.schemas.pieces import ErrorBody
from openhtc.domain.regions import SupportedRegion

Document = dict[str, Any]

_TEMPLATE = "#/components/schemas/{name}"
_METHODS = ("get", "post", "put", "patch", "delete")
_SECURITY: dict[Credential, list[dict[str, list[str]]]] = {
    Credential.BEARER: [{"bearer": []}],
    Credential.KEY: [{"key": []}],
    Credential.NONE: [],
}
_PARAMETERS = {
    "pageIndex": "Where the page begins, as the `next` of the page before says it; empty for the first page.",
    "pageSize": "Items on a page; larger numbers are taken as the largest that there is.",
    "project_id": "Id of the project.",
    "task_id": "Id of the task.",
    "job_id": "Id of the job: `<parentJobId>:<index>`.",
    "workspace_id": "Id of the caller's workspace.",
    "image_name": "Repository, and after a colon the tag; without a tag `latest` is meant.",
    "repo_name": "Name of the repository below the project's registry; may hold slashes.",
    "region": "Name of a region.",
    "limit_id": "Id of the limit.",
    "group": "Label given at submission.",
    "jobId": "Only these jobs; repeat for more.",
    "status": "Only jobs in this status.",
    "viewType": "SIMPLE leaves out what was asked for: commands, environment, resources.",
    "sort": "Order of the lines.",
    "filePath": "Path of the file below the folder, without `.` and `..`.",
    "onlyMyProjects": "Only projects that the caller made.",
    "cloudProvider": "Only regions of this cloud.",
    "Accept-Encoding": "gzip, where the client unpacks it.",
    "enabled": "Only regions that are enabled, or only those that are not.",
}
_PART = r"(?!\.{1,2}(/|$))[^/\\\x00-\x1f]+"
_NARROWER: dict[str, Document] = {
    "pageSize": {"minimum": 1},
    "filePath": {
        "pattern": r"^(?!\.{1,2}(/|$))[^/\\\x00-\x1f]+(/(?!\.{1,2}(/|$))[^/\\\x00-\x1f]+)*$",
        "maxLength": 900,
    },
}
"""What the services check and the framework does not know of."""

_ERRORS = {
    "400": "The request says something that cannot be; the message names the place, the value and what was expected",
    "401": "The credential is missing, wrong, expired or revoked",
    "403": "The caller may not do this",
    "404": "There is no such thing",
    "413": "The body is too large",
    "503": "A part of the service does not answer; try again",
}
_EXAMPLE_OF_REFUSAL = {
    "400": ("INVALID_REQUEST", "[3].htcJobDefinition.maxVCpus: 65 is above 64"),
    "401": ("UNAUTHORIZED", "the token has expired"),
    "403": ("FORBIDDEN", "you may not cancel these jobs: that takes the role owner or admin"),
    "404": ("NOT_FOUND", "there is no project '1b4e28ba-2fa1-41d2-883f-0016d3cca427'"),
    "413": ("BODY_TOO_LARGE", "the body has more than 1048576 bytes"),
    "503": ("SERVICE_UNAVAILABLE", "the database does not answer"),
}


def describe(app: Litestar) -> Document:
    """The whole document, as JSON values."""
    document: Document = app.openapi_schema.to_schema()
    handlers = dict(_handlers(app))
    document["components"]["schemas"] = _schemas(handlers.values())
    describe_members(document["components"]["schemas"])
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method in _METHODS:
                _complete(operation, path, handlers[method, path])
    add_links(document["paths"])
    return document


def _handlers(app: Litestar) -> Iterator[tuple[tuple[str, str], HTTPRouteHandler]]:
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for method, (handler, _) in route.route_handler_map.items():
                yield (method.lower(), route.path_format), handler


def _schemas(handlers: Any) -> dict[str, Any]:
    types: set[type] = {ErrorBody, OAuth2ErrorBody, SupportedRegion}
    for handler in handlers:
        if handler.include_in_schema:
            signature = handler.parsed_fn_signature
            annotations = [signature.return_type.annotation]
            annotations += [parameter.annotation for parameter in signature.parameters.values()]
            annotations += [handler.opt["form"]] if "form" in handler.opt else []
            for annotation in annotations:
                types.update(_described(annotation))
    _, components = msgspec.json.schema_components(types, ref_template=_TEMPLATE)
    return dict(components)


def _described(annotation: Any) -> Iterator[type]:
    """The structs and enums within an annotation such as ``Response[list[Struct]]``."""
    if isinstance(annotation, type) and (
        issubclass(annotation, msgspec.Struct) or hasattr(annotation, "__members__")
    ):
        yield annotation
    for part in get_args(annotation):
        yield from _described(part)


def _complete(operation: Document, path: str, handler: HTTPRouteHandler) -> None:
    credential = handler.opt.get("credential", Credential.BEARER)
    operation["operationId"] = _camel(handler.handler_name)
    operation["tags"] = [_tag(path)]
    operation["security"] = _SECURITY[credential]
    if form := handler.opt.get("form"):
        schema = {"$ref": _TEMPLATE.format(name=form.__name__)}
        operation["requestBody"] = {
            "content": {RequestEncodingType.URL_ENCODED.value: {"schema": schema}},
            "required": True,
        }
    defaults = _defaults(handler)
    for parameter in operation.get("parameters", ()):
        name = parameter["name"]
        parameter["description"] = _PARAMETERS[name]
        if name == "region":
            parameter["schema"] = {"$ref": _TEMPLATE.format(name=SupportedRegion.__name__)}
        parameter["schema"] = {**_without_null(parameter["schema"]), **_NARROWER.get(name, {})}
        if name in defaults:
            parameter["schema"]["default"] = defaults[name]
    responses = operation["responses"]
    for status in ("200", "201", "204"):
        if status in responses:
            responses[status]["description"] = handler.summary or ""
            responses[status].pop("headers", None)
    responses.pop("400", None)
    for status in _refusals(operation, path, credential):
        responses[status] = _refusal(status, "form" in handler.opt)


def _without_null(schema: Document) -> Document:
    """A parameter that may be left out cannot be null: there is no way to say it in a query."""
    choices = [choice for choice in schema.get("oneOf", ()) if choice.get("type") != "null"]
    return choices[0] if len(choices) == 1 else schema


def _defaults(handler: HTTPRouteHandler) -> dict[str, Any]:
    """What optional parameters are when they are left out, by their public names."""
    parameters = handler.parsed_fn_signature.parameters.values()
    given = {_camel(parameter.name): parameter.default for parameter in parameters if parameter.has_default}
    return {name: msgspec.to_builtins(value) for name, value in given.items() if value is not None}


def _refusals(operation: Document, path: str, credential: Credential) -> Iterator[str]:
    if operation.get("parameters") or "requestBody" in operation or credential is Credential.NONE:
        yield "400"
    if credential is not Credential.NONE:
        yield "401"
    if credential is Credential.BEARER:
        yield "403"
    if "{" in path:
        yield "404"
    if "requestBody" in operation:
        yield "413"
    yield "503"


def _refusal(status: str, oauth2: bool) -> Document:
    code, text = _EXAMPLE_OF_REFUSAL[status]
    example = ErrorBody(code, code, text, text)
    if oauth2 and status == "400":
        code, text = "invalid_client", "client_secret: the key is unknown, has expired or was revoked"
        example = OAuth2ErrorBody(code, code, text, text, text)
    content = {
        "schema": {"$ref": _TEMPLATE.format(name=type(example).__name__)},
        "example": msgspec.to_builtins(example),
    }
    return {"description": _ERRORS[status], "content": {"application/json": content}}


def _tag(path: str) -> str:
    """The subject of a path: its last fixed part that names one."""
    for word, tag in (
        ("auth", "tokens"),
        ("oauth2", "tokens"),
        ("well-known", "tokens"),
        ("container-registry", "images"),
        ("storage", "storage"),
        ("/jobs", "jobs"),
        ("summary-statistics", "jobs"),
        ("groups", "jobs"),
        ("limits", "limits"),
        ("dimensions", "dimensions"),
        ("retention", "retention"),
        ("tasks", "tasks"),
        ("regions", "regions"),
        ("clusters", "regions"),
        ("metrics", "metrics"),
    ):
        if word in path:
            return tag
    return "projects"


def _camel(name: str) -> str:
    return re.sub(r"_([a-z])", lambda m: m[1].upper(), name)
