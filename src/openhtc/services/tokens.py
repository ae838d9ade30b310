"""Short-lived tokens. Each kind says what it is for and is refused everywhere else."""

import base64
import hashlib
import hmac
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import GuestProtocol, RSAKey

from openhtc.domain.errors import Unauthorized
from openhtc.domain.identity import JobScope, User
from openhtc.services.signing import Keys, SigningKeys

USER_TOKEN_LIFETIME = timedelta(hours=6)
REGISTRY_TOKEN_LIFETIME = timedelta(hours=12)
AGENT_TOKEN_LIFETIME = timedelta(hours=1)
JOB_TOKEN_MARGIN = timedelta(hours=1)
USER_CLAIM = "userDefined_"

_ALGORITHMS = ["RS256"]


class TokenUse(StrEnum):
    USER = "user"
    JOB = "job"
    AGENT = "agent"
    REGISTRY = "registry"


class JobRefresh(msgspec.Struct, frozen=True):
    """What a job's refresh token says: who it acts for, which job it is, until when."""

    user: str
    project: UUID
    task: UUID
    parent: UUID
    index: int
    expires: int


class Tokens:
    """Makes and reads tokens; ``issuer`` is the service's public origin."""

    def __init__(self, keys: SigningKeys, issuer: str, secret_key: str) -> None:
        self._keys = keys
        self._issuer = issuer
        self._refresh_key = hashlib.sha256(b"openhtc job refresh\0" + secret_key.encode()).digest()

    async def keys(self) -> Keys:
        return await self._keys.current()

    def user_token(self, keys: Keys, user: User, now: datetime) -> str:
        claims = self._common(TokenUse.USER, user.id, now, USER_TOKEN_LIFETIME)
        return self._sign(keys, {**claims, **_about(user)})

    def job_token(self, keys: Keys, user: User, scope: JobScope, now: datetime, lifetime: timedelta) -> str:
        claims = self._common(TokenUse.JOB, user.id, now, lifetime)
        job = {
            "projectId": str(scope.project_id),
            "taskId": str(scope.task_id),
            "jobId": f"{scope.parent_job_id}:{scope.index}",
            **{USER_CLAIM + name: value for name, value in scope.claims},
        }
        return self._sign(keys, {**claims, **_about(user), **job})

    def registry_token(self, keys: Keys, user: User, project_id: UUID, now: datetime) -> str:
        claims = self._common(TokenUse.REGISTRY, user.id, now, REGISTRY_TOKEN_LIFETIME)
        return self._sign(keys, {**claims, "projectId": str(project_id)})

    def agent_token(self, keys: Keys, agent_no: int, now: datetime) -> str:
        return self._sign(keys, self._common(TokenUse.AGENT, str(agent_no), now, AGENT_TOKEN_LIFETIME))

    async def read(self, token: str, uses: tuple[TokenUse, ...], now: datetime) -> dict[str, Any]:
        """The claims of a valid token of one of the given kinds; raises Unauthorized for all else."""
        claims = await self._verified(token)
        if claims.get("iss") != self._issuer or claims.get("use") not in uses:
            raise Unauthorized("this kind of token is not accepted here")
        if not isinstance(claims.get("exp"), int) or claims["exp"] <= now.timestamp():
            raise Unauthorized("the token has expired")
        return claims

    async def _verified(self, token: str) -> dict[str, Any]:
        """Another server may sign with a key that is newer than those that this one has read."""
        for keys in (self._keys.current, self._keys.fresh):
            find = partial(_key_of, (await keys()).by_kid)
            try:
                return jwt.decode(token, find, _ALGORITHMS).claims
            except KeyError:
                continue
            except (JoseError, ValueError) as error:
                raise Unauthorized("the bearer token is not one of ours or was changed") from error
        raise Unauthorized("the bearer token was signed with a key that is not ours")

    def job_refresh_token(self, refresh: JobRefresh) -> str:
        payload = base64.urlsafe_b64encode(msgspec.json.encode(refresh)).rstrip(b"=")
        return f"ohj_{payload.decode()}.{self._seal(payload)}"

    def read_job_refresh(self, token: str, now: datetime) -> JobRefresh | None:
        """None when the token is not a job's refresh token; raises Unauthorized when it has expired."""
        payload, dot, seal = token.removeprefix("ohj_").partition(".")
        raw = payload.encode()
        if (
            not token.startswith("ohj_")
            or not dot
            or not hmac.compare_digest(self._seal(raw).encode(), seal.encode())
        ):
            return None
        refresh = msgspec.json.decode(base64.urlsafe_b64decode(raw + b"=" * (-len(raw) % 4)), type=JobRefresh)
        if refresh.expires <= now.timestamp():
            raise Unauthorized("the refresh token has expired")
        return refresh

    def _seal(self, payload: bytes) -> str:
        return hmac.new(self._refresh_key, payload, hashlib.sha256).hexdigest()

    def _common(self, use: TokenUse, subject: str, now: datetime, lifetime: timedelta) -> dict[str, Any]:
        issued = int(now.timestamp())
        return {
            "iss": self._issuer,
            "sub": subject,
            "iat": issued,
            "exp": issued + int(lifetime.total_seconds()),
            "jti": str(uuid4()),
            "use": use.value,
        }

    def _sign(self, keys: Keys, claims: dict[str, Any]) -> str:
        return jwt.encode({"alg": "RS256", "kid": keys.signing.kid}, claims, keys.signing, _ALGORITHMS)


def _key_of(known: dict[str, RSAKey], token: GuestProtocol) -> RSAKey:
    return known[str(token.headers()["kid"])]


def _about(user: User) -> dict[str, Any]:
    return {
        "userId": user.id,
        "userFullName": user.full_name,
        "userEmail": user.email,
        "workspaceName": user.workspace_name,
        "workspaceId": user.workspace_id,
        "organizationCode": user.organization_code,
        "groups": user.roles,
    }
