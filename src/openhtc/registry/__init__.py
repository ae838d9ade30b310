"""The image registry: who may do what in it, and what it holds."""

from openhtc.registry.client import RegistryClient
from openhtc.registry.scopes import (
    REGISTRY_ROOT,
    Access,
    Scope,
    granted,
    parse_scopes,
    project_prefix,
    repository_path,
)
from openhtc.registry.tokens import RegistryTokens

__all__ = [
    "REGISTRY_ROOT",
    "Access",
    "RegistryClient",
    "RegistryTokens",
    "Scope",
    "granted",
    "parse_scopes",
    "project_prefix",
    "repository_path",
]
