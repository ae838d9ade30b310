"""Which operations go on from the answer of another one, as OpenAPI links."""

import re
from collections.abc import Iterator
from typing import Any

Document = dict[str, Any]

_PROJECT = {"project_id": "$response.body#/projectId"}
_TASK = {**_PROJECT, "task_id": "$response.body#/taskId"}
_FIRST_JOB = {
    "project_id": "$response.body#/0/projectId",
    "task_id": "$response.body#/0/taskId",
    "job_id": "{$response.body#/0/parentJobId}:0",
}
_LIMIT = {**_PROJECT, "limit_id": "$response.body#/id"}
SOURCES = {"createProject": _PROJECT, "createTask": _TASK, "submitJobs": _FIRST_JOB, "putLimit": _LIMIT}
"""Operations that make something, and where their answer says what the paths of others need."""


def add_links(paths: Document) -> None:
    """Link every operation whose path takes exactly what one of the sources answers."""
    operations = list(_operations(paths))
    for _, source in operations:
        values = SOURCES.get(source["operationId"])
        if values is None:
            continue
        links = {
            target["operationId"]: {"operationId": target["operationId"], "parameters": values}
            for path, target in operations
            if set(re.findall(r"\{(\w+)\}", path)) == set(values)
        }
        for status in ("200", "201"):
            if status in source["responses"]:
                source["responses"][status]["links"] = links


def _operations(paths: Document) -> Iterator[tuple[str, Document]]:
    for path, item in paths.items():
        for operation in item.values():
            if isinstance(operation, dict) and "operationId" in operation:
                yield path, operation
