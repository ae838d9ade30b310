"""Every refusal becomes the same kind of answer, here and nowhere else."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec
import structlog
from litestar import Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.utils.scope.state import ScopeState

from openhtc.api.expected import allowed_values, steps
from openhtc.api.requests import AnyRequest
from openhtc.api.routes import methods_of
from openhtc.api.schemas.identity import OAuth2ErrorBody
from openhtc.api.schemas.pieces import ErrorBody
from openhtc.domain.errors import OpenhtcError, Unauthorized
from openhtc.domain.names import ENV_NAME_PATTERN, env_name_problem

log = structlog.get_logger(__name__)

_CODES = {
    400: "INVALID_REQUEST",
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    413: "BODY_TOO_LARGE",
}
_PLACE = re.compile(r"^(?P<text>.*?)(?: - at `\$\.?(?P<path>.*?)`)?$", re.DOTALL)
_LONGEST_VALUE = 200
_MISSING = object()


def _answer(status: int, code: str, text: str) -> Response[ErrorBody]:
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return Response(
        ErrorBody(code, code, text, text), status_code=status, headers=headers, media_type="application/json"
    )


def refused(_: AnyRequest, error: OpenhtcError) -> Response[ErrorBody]:
    return _answer(error.status, error.code, error.message)


def registry_refused(_: AnyRequest, error: Unauthorized) -> Response[ErrorBody]:
    """The login of `docker login` is by password, so that is what the challenge must ask for."""
    answer = _answer(401, error.code, error.message)
    answer.headers["WWW-Authenticate"] = 'Basic realm="openhtc registry"'
    return answer


def oauth2_refused(_: AnyRequest, error: OpenhtcError) -> Response[OAuth2ErrorBody]:
    """As RFC 6749 says it, within the body that every refusal has."""
    body = OAuth2ErrorBody(error.code, error.code, error.message, error.message, error.message)
    headers = {"Cache-Control": "no-store"}
    return Response(body, status_code=error.status, headers=headers, media_type="application/json")


def http_error(request: AnyRequest, error: HTTPException) -> Response[ErrorBody]:
    status = error.status_code
    answer = _answer(status, _CODES.get(status, f"HTTP_{status}"), error.detail)
    if status == 405:
        answer.headers["Allow"] = ", ".join(methods_of(request.app, request.scope["path"]))
    return answer


def invalid(request: AnyRequest, error: ValidationException) -> Response[ErrorBody]:
    """A value of a wrong type or outside its range: name the place, the value and what was expected."""
    cause = error.__cause__
    text = str(cause) if isinstance(cause, msgspec.ValidationError) else error.detail
    parameters = request.route_handler.parsed_fn_signature.parameters
    types = {name: parameter.raw for name, parameter in parameters.items()}
    return _answer(400, "INVALID_REQUEST", explain(text, ScopeState.from_scope(request.scope).body, types))


def unreadable(_: AnyRequest, error: Exception) -> Response[ErrorBody]:
    """Bodies that no decoder can follow: nested without end, or not UTF-8."""
    return _answer(400, "INVALID_REQUEST", f"the body cannot be read: {type(error).__name__}")


def crashed(request: AnyRequest, error: Exception) -> Response[ErrorBody]:
    log.error("request_crashed", method=request.method, path=request.scope["path"], exc_info=error)
    return _answer(500, "INTERNAL_ERROR", "an internal error; the server's log tells more")


def explain(message: str, body: Any, types: Mapping[str, Any] | None = None) -> str:
    """Turn msgspec's message and the raw body into ``[3].htcJobDefinition.maxVCpus: 65 is above 64``.

    ``types`` are those of the handler's parameters, by name; they tell which values an enum accepts.
    """
    match = _PLACE.match(message)
    assert match is not None, "the pattern matches every text"
    text, path = match["text"], match["path"] or ""
    parameter = re.split(r"[.\[]", path, maxsplit=1)[0]
    inside = path.removeprefix(parameter).removeprefix(".")
    if text == "Object missing required field `data`":
        return "the body is missing"
    allowed = allowed_values((types or {}).get(parameter), inside)
    if parameter != "data":
        said = f"{text}, expected one of {', '.join(allowed)}" if allowed else text
        return f"{_camel(path)}: {said}" if path else text
    return f"{inside or 'the body'}: {_say(text, _value(body, inside), allowed)}"


def _camel(name: str) -> str:
    return re.sub(r"_([a-z])", lambda m: m[1].upper(), name)


def _value(body: Any, path: str) -> Any:
    """What stands at a place of the body; _MISSING when it cannot be told."""
    try:
        value = msgspec.json.decode(body)
        for step in steps(path):
            value = value[step]
    except (msgspec.DecodeError, TypeError, LookupError):
        return _MISSING
    return value


_BOUNDS = {">=": "below", "<=": "above"}
_LENGTHS = {">=": "shorter", "<=": "longer"}


def _say(text: str, value: Any, allowed: list[str]) -> str:
    if missing := re.fullmatch(r"Object missing required field `(.*)`", text):
        return f"the required member {missing[1]} is missing"
    if value is _MISSING:
        return text
    shown = msgspec.json.encode(value).decode()
    shown = shown if len(shown) <= _LONGEST_VALUE else shown[:_LONGEST_VALUE] + "…"
    if bound := re.fullmatch(r"Expected `\w+` (>=|<=) (\S+)", text):
        return f"{shown} is {_BOUNDS[bound[1]]} {bound[2]}"
    if length := re.fullmatch(r"Expected `\w+` of length (>=|<=) (\d+)", text):
        return f"{shown} is {_LENGTHS[length[1]]} than {length[2]}"
    if pattern := re.fullmatch(r"Expected `str` matching regex (.*)", text, re.DOTALL):
        problem = env_name_problem(value) if pattern[1] == repr(ENV_NAME_PATTERN) else None
        return f"{shown} {problem or f'does not match {pattern[1]}'}"
    if text.startswith("Invalid enum value"):
        return f"{shown} is none of {', '.join(allowed)}"
    if wrong := re.fullmatch(r"Expected `(.*)`, got `(.*)`", text):
        return f"{shown} is of type {wrong[2]}, expected {wrong[1]}"
    return f"{shown}: {text}"
