"""Bodies of the limit operations."""

from typing import Annotated

from msgspec import Meta, Struct, field

from openhtc.api.schemas.pieces import Moment, ReadOnly
from openhtc.api.times import rfc3339
from openhtc.domain.enums import ModifierRole
from openhtc.storage.limits import Limit

Vcpus = Annotated[
    int, Meta(ge=0, le=999999, description="vCPUs that released jobs may have in all", examples=[64])
]


class LimitCreateBody(Struct, frozen=True, rename="camel"):
    modifier_role: ModifierRole
    vcpus: Vcpus = field(name="vCPUs")


class LimitUpdateBody(Struct, frozen=True):
    vcpus: Vcpus = field(name="vCPUs")


class ProjectLimitBody(Struct, frozen=True, rename="camel", kw_only=True):
    """A project's limit; ``modifierRole`` says who may change it."""

    id: Annotated[int, ReadOnly]
    project_id: Annotated[str, ReadOnly]
    workspace_id: Annotated[str, ReadOnly]
    modifier_role: ModifierRole
    vcpus: Vcpus = field(name="vCPUs")
    created_by: Annotated[str, ReadOnly]
    created_at: Annotated[Moment, ReadOnly]
    updated_by: Annotated[str, ReadOnly]
    updated_at: Annotated[Moment, ReadOnly]


class WorkspaceLimitBody(Struct, frozen=True, rename="camel", kw_only=True):
    """The limit of all projects of a workspace together; operators set it."""

    workspace_id: str
    vcpus: Vcpus = field(name="vCPUs")
    created_by: str
    created_at: Moment
    updated_by: str
    updated_at: Moment


def project_limit_body(limit: Limit) -> ProjectLimitBody:
    assert limit.modifier_role is not None, "a project's limit has a role"
    return ProjectLimitBody(
        id=limit.id,
        project_id=str(limit.project_id),
        workspace_id=limit.workspace_id,
        modifier_role=ModifierRole(limit.modifier_role),
        vcpus=limit.vcpus,
        created_by=limit.created_by,
        created_at=rfc3339(limit.created_at),
        updated_by=limit.updated_by,
        updated_at=rfc3339(limit.updated_at),
    )


def workspace_limit_body(limit: Limit) -> WorkspaceLimitBody:
    return WorkspaceLimitBody(
        workspace_id=limit.workspace_id,
        vcpus=limit.vcpus,
        created_by=limit.created_by,
        created_at=rfc3339(limit.created_at),
        updated_by=limit.updated_by,
        updated_at=rfc3339(limit.updated_at),
    )
