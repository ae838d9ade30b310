"""From the Authorization header to the caller."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from openhtc.domain.errors import Forbidden, Unauthorized
from openhtc.domain.identity import AgentKey, Caller, JobScope, User
from openhtc.domain.ids import JobId, parse_job_id
from openhtc.domain.submission import StoredRequest
from openhtc.services.clock import Clock
from openhtc.services.secrets import secret_hash
from openhtc.services.tokens import USER_CLAIM, USER_TOKEN_LIFETIME, JobRefresh, Tokens, TokenUse, key_of
from openhtc.storage import identity, jobs
from openhtc.storage.database import Connection, Database

HTC_DISABLED = "HTC_DISABLED"
_KINDS = {"token": "api_key", "refresh": "refresh_token"}


def claims_of(request: StoredRequest) -> tuple[tuple[str, str], ...]:
    """The custom claims that a submitted batch asks for."""
    return tuple((claim["name"], claim["value"]) for claim in request["htcJobDefinition"].get("claims", []))


class Authentication:
    def __init__(self, database: Database, tokens: Tokens, clock: Clock) -> None:
        self._database = database
        self._tokens = tokens
        self._clock = clock

    async def by_key(self, header: str | None) -> Caller:
        """For ``Token <API key>`` and ``Refresh <refresh token>``; raises Unauthorized."""
        scheme, secret = _split(header)
        if scheme not in _KINDS:
            raise Unauthorized(
                "expected the header Authorization: Token <API key> or Refresh <refresh token>"
            )
        return await self.by_secret(scheme, secret)

    async def by_secret(self, scheme: str, secret: str) -> Caller:
        """The caller behind a ``token`` (an API key) or a ``refresh`` (token); raises Unauthorized.

        Also where HTC is switched off: the secret is good, and so are the questions who I am and what I may use.
        """
        if scheme == "refresh" and (refresh := self._tokens.read_job_refresh(secret, self._clock())):
            return await self._job_behind(refresh)
        async with self._database.connection() as connection:
            found = await identity.find_credential(
                connection, _KINDS[scheme], secret_hash(secret), self._clock()
            )
            if found is None or found.user_id is None:
                raise Unauthorized("the key is unknown, has expired or was revoked")
            return Caller(await self._user(connection, found.user_id), key_id=found.id)

    async def by_bearer(self, header: str | None) -> Caller:
        """For ``Bearer <token>`` of a user or a job; raises Unauthorized, and Forbidden where HTC is switched off.

        A job that was accepted before that keeps its token: it is to end as it was promised.
        """
        scheme, token = _split(header)
        if scheme != "bearer":
            raise Unauthorized("expected the header Authorization: Bearer <token>")
        claims = await self._tokens.read(token, (TokenUse.USER, TokenUse.JOB), self._clock())
        async with self._database.connection() as connection:
            key_id = key_of(claims)
            user = await self._user(connection, str(claims["sub"]), key_id)
            job = None
            if claims["use"] == TokenUse.JOB:
                job = _scope(claims)
                await _refuse_when_over(connection, JobId(job.parent_job_id, job.index))
        if job is None and not user.htc_enabled:
            raise Forbidden(
                f"HTC is switched off for workspace {user.workspace_id}: ask its operator", code=HTC_DISABLED
            )
        return Caller(user, job, tuple(claims.items()), key_id)

    async def agent_by_key(self, header: str | None) -> AgentKey:
        scheme, secret = _split(header)
        async with self._database.connection() as connection:
            found = await identity.find_credential(
                connection, "agent_key", secret_hash(secret), self._clock()
            )
        if scheme != "token" or found is None:
            raise Unauthorized("expected the header Authorization: Token <agent key>")
        return AgentKey(found.id, found.regions)

    async def agent_by_bearer(self, header: str | None) -> int:
        """The number of the agent behind an agent token; refused from when the key that it joined with is revoked."""
        scheme, token = _split(header)
        if scheme != "bearer":
            raise Unauthorized("expected the header Authorization: Bearer <agent token>")
        claims = await self._tokens.read(token, (TokenUse.AGENT,), self._clock())
        agent_no = int(claims["sub"])
        async with self._database.connection() as connection:
            if await identity.is_shut_out(connection, agent_no):
                raise Unauthorized("the key that this agent joined with was revoked")
        return agent_no

    async def metrics_by_key(self, header: str | None) -> None:
        """For the metrics of the whole installation; the two schemes are those that Prometheus can send."""
        scheme, secret = _split(header)
        async with self._database.connection() as connection:
            found = await identity.find_credential(
                connection, "metrics_key", secret_hash(secret), self._clock()
            )
        if scheme not in ("token", "bearer") or found is None:
            raise Unauthorized("expected the header Authorization: Bearer <metrics key>")

    async def bearer_for(self, caller: Caller) -> tuple[str, int]:
        """A fresh bearer token of the same reach as the caller's key, and its lifetime in seconds."""
        now = self._clock()
        keys = await self._tokens.keys()
        if caller.job is None:
            token = self._tokens.user_token(keys, caller.user, now, caller.key_id)
            return token, int(USER_TOKEN_LIFETIME.total_seconds())
        expires = dict(caller.claims)["exp"]
        assert isinstance(expires, int)
        left = timedelta(seconds=expires - int(now.timestamp()))
        token = self._tokens.job_token(keys, caller.user, caller.job, now, left)
        return token, int(left.total_seconds())

    async def _job_behind(self, refresh: JobRefresh) -> Caller:
        job_id = JobId(refresh.parent, refresh.index)
        async with self._database.connection() as connection:
            await _refuse_when_over(connection, job_id)
            job = await jobs.find_job(connection, refresh.task, job_id)
            if job is None:
                raise Unauthorized("the job of this refresh token is gone")
            user = await self._user(connection, refresh.user)
        scope = JobScope(
            refresh.project, refresh.task, refresh.parent, refresh.index, claims_of(job.batch.request)
        )
        return Caller(user, scope, (("exp", refresh.expires),))

    async def _user(self, connection: Connection, user_id: str, key_id: UUID | None = None) -> User:
        user = await identity.find_user(connection, user_id, key_id)
        if user is None:
            raise Unauthorized("the key that this credential was made with was revoked, or its user is gone")
        if user.disabled:
            raise Unauthorized("the user behind this credential is disabled")
        return user


async def _refuse_when_over(connection: Connection, job_id: JobId) -> None:
    if not await jobs.is_unfinished(connection, job_id):
        raise Unauthorized("the job of this token has ended")


def _split(header: str | None) -> tuple[str, str]:
    scheme, _, credential = (header or "").strip().partition(" ")
    return scheme.lower(), credential.strip()


def _scope(claims: dict[str, Any]) -> JobScope:
    job_id = parse_job_id(str(claims["jobId"]))
    if job_id is None:
        raise Unauthorized("the token names no job")
    defined = tuple(
        (name.removeprefix(USER_CLAIM), str(value))
        for name, value in claims.items()
        if name.startswith(USER_CLAIM)
    )
    project, task = UUID(str(claims["projectId"])), UUID(str(claims["taskId"]))
    return JobScope(project, task, job_id.parent, job_id.index, defined)
