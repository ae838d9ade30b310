"""Short-lived tokens. Each kind says what it is for and is refused everywhere else."""

import base64
import hashlib
import hmac
import os
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, GuestProtocol, RSAKey

from openhtc.domain.errors import Unauthorized
from openhtc.domain.identity import JobScope, User
from openhtc.services import job_tokens
from openhtc.services.job_tokens import BatchTokens
from openhtc.services.signing import Keys, SigningKeys

USER_TOKEN_LIFETIME = timedelta(hours=6)
REGISTRY_TOKEN_LIFETIME = timedelta(hours=12)
AGENT_TOKEN_LIFETIME = timedelta(hours=1)
JOB_TOKEN_MARGIN = timedelta(hours=1)
USER_CLAIM = "userDefined_"
_KEY_CLAIM = "keyId"

_ALGORITHM = "RS256"
TOKEN_ID_BYTES = 16


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

    def user_token(self, keys: Keys, user: User, now: datetime, key_id: UUID | None = None) -> str:
        """``key_id``: the key that was shown for it. The token ends with that key."""
        claims = self._common(TokenUse.USER, user.id, now, USER_TOKEN_LIFETIME)
        return self._sign(keys, {**claims, **_about(user), **_made_with(key_id)})

    def job_token(self, keys: Keys, user: User, scope: JobScope, now: datetime, lifetime: timedelta) -> str:
        """One job's; for many jobs of a batch see ``batch_tokens``."""
        made = self.batch_tokens(keys, user, scope, now, lifetime)
        return made.token(f"{scope.parent_job_id}:{scope.index}", os.urandom(TOKEN_ID_BYTES))

    def batch_tokens(
        self, keys: Keys, user: User, scope: JobScope, now: datetime, lifetime: timedelta
    ) -> BatchTokens:
        """What makes the tokens of a batch's jobs; the index in ``scope`` is not looked at."""
        claims = {
            **self._common(TokenUse.JOB, user.id, now, lifetime),
            **_about(user),
            "projectId": str(scope.project_id),
            "taskId": str(scope.task_id),
            **{USER_CLAIM + name: value for name, value in scope.claims},
        }
        return BatchTokens(keys.job_signing, claims)

    def registry_token(
        self, keys: Keys, user: User, project_id: UUID, now: datetime, key_id: UUID | None = None
    ) -> str:
        """``key_id`` as for ``user_token``."""
        claims = self._common(TokenUse.REGISTRY, user.id, now, REGISTRY_TOKEN_LIFETIME)
        return self._sign(keys, {**claims, "projectId": str(project_id), **_made_with(key_id)})

    def agent_token(self, keys: Keys, agent_no: int, now: datetime) -> str:
        return self._sign(keys, self._common(TokenUse.AGENT, str(agent_no), now, AGENT_TOKEN_LIFETIME))

    async def former_agent(self, token: str) -> int | None:
        """The agent of a token that may have expired; None when it is none of ours."""
        try:
            claims = await self.read(token, (TokenUse.AGENT,), datetime.fromtimestamp(0, UTC))
        except Unauthorized:
            return None
        return int(claims["sub"])

    async def read(self, token: str, uses: tuple[TokenUse, ...], now: datetime) -> dict[str, Any]:
        """The claims of a valid token of one of the given kinds; raises Unauthorized for all else."""
        header, claims = await self._verified(token)
        of_job = header["alg"] == job_tokens.ALGORITHM
        if of_job != (claims.get("use") == TokenUse.JOB):
            raise Unauthorized("the bearer token was signed with a key that is not for its kind")
        if claims.get("iss") != self._issuer or claims.get("use") not in uses:
            raise Unauthorized("this kind of token is not accepted here")
        if not isinstance(claims.get("exp"), int) or claims["exp"] <= now.timestamp():
            raise Unauthorized("the token has expired")
        return claims

    async def _verified(self, token: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Another server may sign with a key that is newer than those that this one has read."""
        for keys in (self._keys.current, self._keys.fresh):
            find = partial(_key_of, await keys())
            try:
                found = jwt.decode(token, find, [_ALGORITHM, job_tokens.ALGORITHM])
                return found.header, found.claims
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
        return hmac.digest(self._refresh_key, payload, "sha256").hex()

    def _common(self, use: TokenUse, subject: str, now: datetime, lifetime: timedelta) -> dict[str, Any]:
        issued = int(now.timestamp())
        return {
            "iss": self._issuer,
            "sub": subject,
            "iat": issued,
            "exp": issued + int(lifetime.total_seconds()),
            "use": use.value,
        }

    def _sign(self, keys: Keys, claims: dict[str, Any]) -> str:
        header = {"alg": _ALGORITHM, "kid": keys.signing.kid}
        return jwt.encode(header, {**claims, "jti": str(uuid4())}, keys.signing, [_ALGORITHM])


def _key_of(keys: Keys, token: GuestProtocol) -> RSAKey | ECKey:
    """The key decides the algorithm, never the token. Raises KeyError when the key is not known."""
    kid, algorithm = str(token.headers()["kid"]), token.headers().get("alg")
    key, needs = (
        (keys.jobs_by_kid[kid], job_tokens.ALGORITHM)
        if kid in keys.jobs_by_kid
        else (keys.by_kid[kid], _ALGORITHM)
    )
    if algorithm != needs:
        raise ValueError(f"alg: {algorithm!r} does not belong to the key {kid!r}, expected {needs}")
    return key


def key_of(claims: dict[str, Any]) -> UUID | None:
    """The key that a verified token was made with, as far as it says."""
    found = claims.get(_KEY_CLAIM)
    return None if found is None else UUID(str(found))


def _made_with(key_id: UUID | None) -> dict[str, str]:
    return {} if key_id is None else {_KEY_CLAIM: str(key_id)}


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
