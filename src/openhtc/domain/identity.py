"""Who calls: people with roles, jobs with one task's reach."""

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID


class Role(StrEnum):
    """What a user may hold beside being a member."""

    WORKSPACE_ADMIN = "workspace_admin"
    ORGANIZATION_ADMIN = "organization_admin"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class User:
    """A user with the workspace and organization that go into tokens and answers."""

    id: str
    email: str
    full_name: str
    is_workspace_admin: bool
    is_organization_admin: bool
    is_operator: bool
    workspace_id: str
    workspace_name: str
    organization_code: str
    regions: list[str]
    """Regions that are enabled, here and in the workspace; the first is the default."""
    htc_enabled: bool
    disabled: bool
    """Locked out. Jobs that they have submitted go on."""

    @property
    def administers_workspace(self) -> bool:
        return self.is_workspace_admin or self.is_organization_admin or self.is_operator

    @property
    def roles(self) -> list[str]:
        named = {
            Role.WORKSPACE_ADMIN: self.is_workspace_admin,
            Role.ORGANIZATION_ADMIN: self.is_organization_admin,
            Role.OPERATOR: self.is_operator,
        }
        return ["member", *(role.value for role, held in named.items() if held)]


@dataclass(frozen=True, slots=True)
class JobScope:
    """What a job's token reaches: its own project and task, and nothing else."""

    project_id: UUID
    task_id: UUID
    parent_job_id: UUID
    index: int
    claims: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class AgentKey:
    """What an agent joins with. ``regions`` None: its agents may serve every region."""

    id: UUID
    regions: list[str] | None


@dataclass(frozen=True, slots=True)
class Caller:
    """The identity behind one request. ``job`` is set when the credential is a job's."""

    user: User
    job: JobScope | None = None
    claims: tuple[tuple[str, object], ...] = ()
    """The payload of the bearer token, for the whoami answer."""
    key_id: UUID | None = None
    """The API key or refresh token that this goes back to; None for a job."""
