"""Bodies of the retention policies."""

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from openhtc.api.schemas.pieces import Moment, ReadOnly
from openhtc.api.times import rfc3339
from openhtc.domain.retention import MAX_HOURS
from openhtc.storage.retention import Policy

Hours = Annotated[int, Meta(ge=0, le=MAX_HOURS, extra_json_schema={"format": "int32"})]
_Archive = Annotated[
    Hours,
    Meta(
        description="Hours without activity after which a task without unfinished jobs is archived; 0 is never."
    ),
]
_Delete = Annotated[
    Hours, Meta(description="Hours after its archiving at which a task is deleted; 0 is never.")
]


class _Hours(Struct, frozen=True, rename="camel"):
    delete_after: _Delete
    archive_after: _Archive


class ProjectPolicy(_Hours, frozen=True):
    """Stands for the workspace's policy as a whole, its zeros included."""

    project_id: Annotated[str | UnsetType, ReadOnly] = UNSET
    created_at: Annotated[Moment | UnsetType, ReadOnly] = UNSET


class WorkspacePolicy(_Hours, frozen=True):
    """Holds for the projects that have no policy of their own."""

    workspace_id: Annotated[str | UnsetType, ReadOnly] = UNSET
    created_at: Annotated[Moment | UnsetType, ReadOnly] = UNSET


def project_policy(policy: Policy) -> ProjectPolicy:
    return ProjectPolicy(
        policy.delete_after, policy.archive_after, str(policy.project_id), rfc3339(policy.created_at)
    )


def workspace_policy(policy: Policy) -> WorkspacePolicy:
    return WorkspacePolicy(
        policy.delete_after, policy.archive_after, policy.workspace_id, rfc3339(policy.created_at)
    )
