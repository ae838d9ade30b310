"""What a repository, an image and an environment variable may be called.

Source of the patterns: the public API description; the reserved names are its list in words.
"""

import re

_COMPONENT = "[a-z0-9]+(?:[._-][a-z0-9]+)*"
REPOSITORY_PATTERN = f"^(?:{_COMPONENT}/)*{_COMPONENT}$"
TAG_PATTERN = "[_a-zA-Z0-9][-._a-zA-Z0-9]*"
IMAGE_PATTERN = f"^(?:{_COMPONENT}/)*{_COMPONENT}(?::{TAG_PATTERN})?$"

_RESERVED_PREFIXES = (
    "RESCALE_PROJECT_ID",
    "RESCALE_TASK_ID",
    "RESCALE_JOB_ID",
    "PROJECT_SHARED_FOLDER",
    "TASK_SHARED_FOLDER",
    "AWS_SESSION_TOKEN",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "RDF_",
)
ENV_NAME_PATTERN = f"^(?!.*AWS_BATCH_|{'|'.join(_RESERVED_PREFIXES)}).*"
_RESERVED_NAMES = frozenset(
    {
        "RESCALE_HTC_REGION",
        "RESCALE_HTC_TASK_ID",
        "RESCALE_HTC_PROJECT_ID",
        "RESCALE_HTC_BEARER_TOKEN",
        "RESCALE_HTC_REFRESH_TOKEN",
    }
)
MAX_NAME_LENGTH = 210
"""Of a repository: a registry takes 255 characters in all, and the project's path comes before it."""

_repository = re.compile(REPOSITORY_PATTERN)
_tag = re.compile(TAG_PATTERN)


def is_repository(name: str) -> bool:
    return len(name) <= MAX_NAME_LENGTH and _repository.fullmatch(name) is not None


def split_image(name: str) -> tuple[str, str] | None:
    """``repository[:tag]`` as (repository, tag), the tag being latest when absent; None for a bad name."""
    repository, colon, tag = name.partition(":")
    if not is_repository(repository):
        return None
    if colon and (len(tag) > 128 or _tag.fullmatch(tag) is None):
        return None
    return repository, tag or "latest"


def env_name_problem(name: str) -> str | None:
    """What is wrong with the name of a user's variable; None when nothing is."""
    if not name:
        return "is empty"
    if "=" in name or "\0" in name:
        return "contains '=' or NUL"
    if "AWS_BATCH_" in name:
        return "is reserved: it contains AWS_BATCH_"
    for prefix in _RESERVED_PREFIXES:
        if name.startswith(prefix):
            return f"is reserved: it begins with {prefix}"
    return "is reserved" if name in _RESERVED_NAMES else None
