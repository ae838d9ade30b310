"""Bodies of the token operations."""

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType, field

from openhtc.api.schemas.pieces import ErrorBody
from openhtc.domain.identity import User


class Token(Struct, frozen=True, rename="camel"):
    token_value: str
    expires_in: Annotated[int, Meta(description="Seconds until the token expires")]


class OAuth2TokenBody(Struct, frozen=True):
    """RFC 6749, section 5.1."""

    access_token: str
    token_type: str
    expires_in: Annotated[int, Meta(description="Seconds until the token expires")]


class OAuth2ErrorBody(ErrorBody, frozen=True):
    """A refusal that is also one of RFC 6749: ``error`` is its code."""

    description: str = field(name="error_description")


class JsonWebKey(Struct, frozen=True, omit_defaults=True):
    """RFC 7517: `n` and `e` are those of RSA, `crv`, `x` and `y` those of an elliptic curve."""

    kty: str
    kid: str
    use: str
    alg: str
    n: str | UnsetType = UNSET
    e: str | UnsetType = UNSET
    crv: str | UnsetType = UNSET
    x: str | UnsetType = UNSET
    y: str | UnsetType = UNSET


class JsonWebKeySet(Struct, frozen=True):
    keys: list[JsonWebKey]


class WorkspaceBody(Struct, frozen=True):
    id: str
    name: str


class OrganizationBody(Struct, frozen=True, rename="camel"):
    code: str
    can_view_organization_jobs: bool


class UserBody(Struct, frozen=True, rename="camel"):
    """The four roles stand twice, as clients of different ages read them."""

    user_id: str
    email: str
    full_name: str
    is_rescale_admin: bool
    is_organization_admin: bool
    is_workspace_admin: bool
    is_superuser: bool
    rescale_admin: bool
    organization_admin: bool
    workspace_admin: bool
    superuser: bool
    workspace: WorkspaceBody
    organization: OrganizationBody


class Feature(Struct, frozen=True):
    name: str
    value: bool


class UserFeatures(Struct, frozen=True):
    count: int
    results: list[Feature]


class WhoAmI(Struct, frozen=True, rename="camel"):
    user: UserBody
    user_features: UserFeatures


class TokenPayload(Struct, frozen=True, rename="camel", kw_only=True):
    """The claims of a bearer token; a job's token has more of them."""

    sub: str
    iss: str
    iat: int
    exp: int
    user_id: str
    user_full_name: str
    user_email: str
    workspace_name: str
    workspace_id: str
    organization_code: str
    groups: list[str]


def user_body(user: User) -> UserBody:
    return UserBody(
        user_id=user.id,
        email=user.email,
        full_name=user.full_name,
        is_rescale_admin=user.is_operator,
        is_organization_admin=user.is_organization_admin,
        is_workspace_admin=user.is_workspace_admin,
        is_superuser=user.is_operator,
        rescale_admin=user.is_operator,
        organization_admin=user.is_organization_admin,
        workspace_admin=user.is_workspace_admin,
        superuser=user.is_operator,
        workspace=WorkspaceBody(user.workspace_id, user.workspace_name),
        organization=OrganizationBody(user.organization_code, user.is_organization_admin),
    )


def whoami(user: User) -> WhoAmI:
    features = [Feature("htc", user.htc_enabled)]
    return WhoAmI(user_body(user), UserFeatures(len(features), features))
