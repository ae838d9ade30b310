"""Checks answers against the public API description, where that file lies beside the checkout.

The description is not part of the repository. Where it is known to be wrong about the real service, the
exceptions below say so.
"""

import json
import re
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import httpx

FILE = Path(__file__).parents[2] / "shared" / "reference" / "rescale-htc-openapi.json"
REASON = f"{FILE.name} is not beside the checkout"

Schema = dict[str, Any]

_NULLABLE = {
    "HTCJob": "statusReason container failureCode instanceId instanceLabels maxGpus maxSwap startedAt completedAt",
    "HTCJobSubmitRequest": "rescaleProjectId",
    "HTCJobDefinition": "workingDir",
    "HTCProject": "organizationCode",
    "HTCTask": "archivedAt deletedAt",
    "JobStatusSummary": "group",
    "RescaleJobStatusEvent": "statusReason container instanceId instanceLabels",
}
_UNCHECKED_MEMBERS = {("PresignedPutUrlResponse", "url"), ("JobStatusSummary", "jobStatuses")}
_UNCHECKED_OPERATIONS = {
    "/.well-known/jwks.json",
    "/auth/whoami",
    "/auth/token/whoami",
    "/htc/regions",
}
_TYPES = {"object": dict, "array": list, "string": str, "boolean": bool}
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


@cache
def document() -> Schema:
    found: Schema = json.loads(FILE.read_bytes())
    return found


@cache
def _operations() -> list[tuple[re.Pattern[str], str]]:
    """Path patterns, those without parameters first."""
    paths = sorted(document()["paths"], key=lambda path: (path.count("{"), path))
    return [(_pattern(path), path) for path in paths]


def _pattern(path: str) -> re.Pattern[str]:
    text = re.sub(
        r"\{(imageName|repoName)\}", "(.+)", re.escape(path).replace(r"\{", "{").replace(r"\}", "}")
    )
    return re.compile(re.sub(r"\{\w+\}", "[^/]+", text))


def operation_of(path: str) -> str | None:
    """The description's path for a request's."""
    path = path.removeprefix("/api/v1")
    return next((name for pattern, name in _operations() if pattern.fullmatch(path)), None)


def check_answer(response: httpx.Response) -> None:
    """Raises AssertionError when a successful answer is not as described; for httpx's event hooks."""
    if not FILE.exists() or not response.is_success:
        return
    name = operation_of(response.request.url.path)
    if name is None or name in _UNCHECKED_OPERATIONS or response.request.method == "OPTIONS":
        return
    described = document()["paths"][name][response.request.method.lower()]["responses"]
    assert str(response.status_code) in described, f"{name}: status {response.status_code} is not described"
    schema = described[str(response.status_code)].get("content", {}).get("application/json", {}).get("schema")
    if schema is not None:
        assert response.headers["content-type"].startswith("application/json")
        problems = list(violations(json.loads(response.read()), schema, name))
        assert not problems, f"{response.request.method} {name}: {'; '.join(problems[:5])}"


def violations(value: Any, schema: Schema, where: str, owner: str = "") -> list[str]:
    """What is wrong with a value; ``owner`` is the name of the schema that it is a member of."""
    if "$ref" in schema:
        owner = schema["$ref"].rpartition("/")[2]
        return violations(value, document()["components"]["schemas"][owner], where, owner)
    found = [problem for part in schema.get("allOf", ()) for problem in violations(value, part, where, owner)]
    found += _wrong_type(value, schema, where) or _wrong_value(value, schema, where)
    if isinstance(value, dict):
        found += _wrong_members(value, schema, where, owner)
    elif isinstance(value, list) and "items" in schema:
        for n, item in enumerate(value):
            found += violations(item, schema["items"], f"{where}[{n}]")
    return found


def _wrong_type(value: Any, schema: Schema, where: str) -> list[str]:
    kind = schema.get("type")
    if kind in ("integer", "number"):
        fits = isinstance(value, int if kind == "integer" else int | float) and not isinstance(value, bool)
    else:
        fits = kind is None or isinstance(value, _TYPES[kind])
    return [] if fits else [f"{where}: {value!r} is no {kind}"]


def _wrong_value(value: Any, schema: Schema, where: str) -> list[str]:
    found = []
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{where}: {value!r} is none of the enumeration")
    if "minimum" in schema and not schema["minimum"] <= value <= schema.get("maximum", value):
        found.append(f"{where}: {value!r} is out of range")
    if "pattern" in schema and not re.search(schema["pattern"], value):
        found.append(f"{where}: {value!r} does not match")
    if schema.get("format") == "date-time" and not (_TIME.fullmatch(value) and datetime.fromisoformat(value)):
        found.append(f"{where}: {value!r} is no time in UTC")
    return found


def _wrong_members(value: dict[str, Any], schema: Schema, where: str, owner: str) -> list[str]:
    found = [f"{where}: no {name}" for name in schema.get("required", ()) if name not in value]
    for name, member in value.items():
        described = schema.get("properties", {}).get(name, schema.get("additionalProperties"))
        if described is None or (owner, name) in _UNCHECKED_MEMBERS:
            continue
        if member is not None:
            found += violations(member, described, f"{where}.{name}")
        elif name not in _NULLABLE.get(owner, "").split():
            found.append(f"{where}.{name}: null")
    for name, described in schema.get("properties", {}).items():
        if name in value and described.get("writeOnly"):
            found.append(f"{where}.{name}: is for requests only")
    return found
