"""Rules of a submission that a type cannot say; each refusal names the place, the value and what was expected."""

import re
from collections.abc import Mapping

from msgspec import UnsetType, to_builtins

from openhtc.domain.errors import InvalidRequest
from openhtc.domain.names import env_name_problem
from openhtc.domain.regions import Region
from openhtc.domain.submission import MAX_BATCHES, JobDefinition, JobSubmitRequest

_MAX_GROUP_LENGTH = 255
_MAX_ARGUMENTS = 2000
_MAX_ARGUMENT_BYTES = 128 * 1024 - 1
_MAX_ARGUMENTS_BYTES = 512 * 1024
_CLAIM_NAME = re.compile(r"[^\x00-\x1f]{1,255}")


def check_group(group: str) -> None:
    if len(group) > _MAX_GROUP_LENGTH or "\0" in group:
        raise InvalidRequest(f"group: expected at most {_MAX_GROUP_LENGTH} characters without NUL")


def check_submission(requests: list[JobSubmitRequest], project_regions: list[str]) -> None:
    """Raises InvalidRequest at the first thing that cannot be."""
    if not 1 <= len(requests) <= MAX_BATCHES:
        raise InvalidRequest(f"the body has {len(requests)} elements, expected 1 to {MAX_BATCHES}")
    for position, request in enumerate(requests):
        where = f"[{position}]"
        check_text(where, to_builtins(request))
        _check_regions(where, request, project_regions)
        _check_definition(f"{where}.htcJobDefinition", request.htc_job_definition)


def wanted_regions(request: JobSubmitRequest) -> list[Region]:
    """The regions that the request names; empty when it leaves the choice to us."""
    if not isinstance(request.regions, UnsetType) and request.regions:
        return request.regions
    return [] if isinstance(request.region, UnsetType) else [request.region]


def _check_regions(where: str, request: JobSubmitRequest, project_regions: list[str]) -> None:
    regions = wanted_regions(request)
    if len(set(regions)) != len(regions):
        raise InvalidRequest(f"{where}.regions: {', '.join(regions)} names a region twice")
    for region in regions:
        if region not in project_regions:
            raise InvalidRequest(
                f"{where}.regions: {region} is not a region of the project, which has "
                f"{', '.join(project_regions)}"
            )


def _check_definition(where: str, definition: JobDefinition) -> None:
    for n, pair in enumerate(definition.envs):
        if problem := env_name_problem(pair.name):
            raise InvalidRequest(f"{where}.envs[{n}].name: {pair.name!r} {problem}")
    for n, claim in enumerate(definition.claims):
        if _CLAIM_NAME.fullmatch(claim.name) is None:
            raise InvalidRequest(f"{where}.claims[{n}].name: {claim.name!r}: expected 1 to 255 characters")
    _check_arguments(f"{where}.commands", definition.commands)
    _check_arguments(f"{where}.envs", [f"{pair.name}={pair.value}" for pair in definition.envs])
    folder = definition.working_dir
    if isinstance(folder, str) and not folder.startswith("/"):
        raise InvalidRequest(f"{where}.workingDir: {folder!r} is not an absolute path")


def _check_arguments(where: str, words: list[str]) -> None:
    """What the kernel passes to a program is limited, singly and in all."""
    if len(words) > _MAX_ARGUMENTS:
        raise InvalidRequest(f"{where}: {len(words)} elements, at most {_MAX_ARGUMENTS} are allowed")
    sizes = [len(word.encode()) + 1 for word in words]
    for n, size in enumerate(sizes):
        if size > _MAX_ARGUMENT_BYTES:
            raise InvalidRequest(f"{where}[{n}]: {size} bytes, at most {_MAX_ARGUMENT_BYTES} are allowed")
    if sum(sizes) > _MAX_ARGUMENTS_BYTES:
        raise InvalidRequest(
            f"{where}: {sum(sizes)} bytes in all, at most {_MAX_ARGUMENTS_BYTES} are allowed"
        )


def check_text(where: str, value: object) -> None:
    """Refuse NUL anywhere in a JSON-like value: neither the database nor a program's environment can hold it."""
    if isinstance(value, str):
        if "\0" in value:
            raise InvalidRequest(f"{where}: contains NUL")
    elif isinstance(value, Mapping):
        for key, member in value.items():
            check_text(where, key)
            check_text(f"{where}.{key}", member)
    elif isinstance(value, list):
        for position, member in enumerate(value):
            check_text(f"{where}[{position}]", member)
