"""What registry clients ask for, and the part of it that a credential of one project may have."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

REGISTRY_ROOT = "aws.com"
"""First part of every repository path: a released client refuses registries without it."""

_ASKED_FOR_ALL = ("pull", "push", "delete")
_REPOSITORY = re.compile(r"(?:[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*/)*[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*")
_MAX_NAME = 255


@dataclass(frozen=True, slots=True)
class Scope:
    """One thing asked for, e.g. type ``repository``, name ``aws.com/<projectId>/app``, actions pull and push."""

    type: str
    name: str
    actions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Access:
    """One repository and what a token allows there."""

    name: str
    actions: tuple[str, ...]


def project_prefix(project_id: str) -> str:
    """What the names of all repositories of a project begin with."""
    return f"{REGISTRY_ROOT}/{project_id}/"


def repository_path(project_id: str, repository: str) -> str:
    return f"{project_prefix(project_id)}{repository}"


def parse_scopes(parameters: Iterable[str]) -> list[Scope]:
    """The scopes in the values of all ``scope`` parameters of a request; what is no scope is left out.

    A value may hold several scopes with spaces between. A name may contain a colon (a host's port), so
    type and actions are split off at the ends.
    """
    found = (_parse(text) for value in parameters for text in value.split())
    return [scope for scope in found if scope is not None]


def _parse(text: str) -> Scope | None:
    kind, colon, rest = text.partition(":")
    name, last_colon, actions = rest.rpartition(":")
    if not (colon and last_colon and kind and name):
        return None
    kind = kind.partition("(")[0]
    return Scope(kind, name, _actions(actions.split(",")))


def _actions(asked: list[str]) -> tuple[str, ...]:
    """The actions without doubles, in the order asked for; ``*`` stands for all."""
    spelled = [each for action in asked for each in (_ASKED_FOR_ALL if action == "*" else (action,))]
    return tuple(dict.fromkeys(action for action in spelled if action))


def granted(scopes: Iterable[Scope], allowed_prefix: str) -> list[Access]:
    """The part of ``scopes`` that lies in repositories below ``allowed_prefix``; often nothing.

    Only pull, push and delete of repositories are ever given: no catalog, no other type. The same
    repository asked for twice gets the union.
    """
    allowed: dict[str, tuple[str, ...]] = {}
    for scope in scopes:
        if scope.type != "repository" or not _is_below(scope.name, allowed_prefix):
            continue
        actions = tuple(action for action in scope.actions if action in _ASKED_FOR_ALL)
        before = allowed.get(scope.name, ())
        allowed[scope.name] = tuple(dict.fromkeys((*before, *actions)))
    return [Access(name, actions) for name, actions in allowed.items() if actions]


def _is_below(name: str, prefix: str) -> bool:
    if not prefix.endswith("/") or not name.startswith(prefix) or len(name) > _MAX_NAME:
        return False
    return _REPOSITORY.fullmatch(name) is not None
