"""The agent's standing with the server: opened with the agent key, renewed, reopened when it ended."""

import threading
import time
from typing import TypeVar

import msgspec
import structlog

from openhtc.agent.wire import RequestInvalid, ServerAway, ServerRefuses, SessionEnded, Wire
from openhtc.domain.work import AgentHello, AgentSession

PREFIX = "/agent/v1"
MIN_RENEW_SECONDS = 30.0
"""Not more often than this, also when the two clocks disagree."""

RENEW_AGAIN_SECONDS = 5.0

AnswerType = TypeVar("AnswerType")

logger = structlog.get_logger(__name__)


class Session:
    """Thread-safe. Every request of the agent goes through ``post``."""

    def __init__(self, wire: Wire, hello: AgentHello, key: str) -> None:
        self._wire = wire
        self._hello = hello
        self._key = key
        self._lock = threading.Lock()
        self._session: AgentSession | None = None
        self._renew_at = 0.0
        self._fresh_until = 0.0

    @property
    def current(self) -> AgentSession:
        """The session that was opened last; ``open`` comes first."""
        session = self._session
        assert session is not None, "the session is opened before anything uses it"
        return session

    def open(self) -> AgentSession:
        """Open a new session. Raises ServerAway, and ServerRefuses also for a key that is not valid."""
        with self._lock:
            return self._open()

    def post(
        self, operation: str, body: msgspec.Struct, answer: type[AnswerType], *, wait_seconds: float = 0.0
    ) -> AnswerType:
        """One request under the session's token, with a new session if the token has ended.

        Raises ServerAway, ServerRefuses, RequestInvalid.
        """
        token = self.current.token
        try:
            return self._send(operation, body, answer, token, wait_seconds)
        except SessionEnded:
            token = self._reopen(token)
        try:
            return self._send(operation, body, answer, token, wait_seconds)
        except SessionEnded as error:
            raise ServerAway(f"a new session was not accepted: {error}") from error

    def renew_if_due(self) -> None:
        """Get a fresh token and fresh keys when half of their life is over.

        What cannot be renewed now is tried again soon. Raises ServerRefuses.
        """
        if time.monotonic() < self._renew_at:
            return
        with self._lock:
            try:
                self._adopt(self._send("renew", None, AgentSession, self.current.token, 0.0))
            except SessionEnded:
                self._open()
            except (ServerAway, RequestInvalid) as error:
                logger.warning("not_renewed", error=str(error))
                self._renew_at = time.monotonic() + RENEW_AGAIN_SECONDS

    def renew_soon(self) -> None:
        """The object store does not accept the keys: get others, unless these are fresh."""
        with self._lock:
            self._renew_at = min(self._renew_at, max(time.monotonic(), self._fresh_until))

    def _send(
        self,
        operation: str,
        body: msgspec.Struct | None,
        answer: type[AnswerType],
        token: str,
        wait_seconds: float,
    ) -> AnswerType:
        return self._wire.post(
            f"{PREFIX}/{operation}", body, answer, authorization=f"Bearer {token}", wait_seconds=wait_seconds
        )

    def _reopen(self, ended: str) -> str:
        """A token that is not ``ended``; of several threads one opens the session."""
        with self._lock:
            if self.current.token == ended:
                logger.warning("session_ended", agent=self.current.agent)
                self._open()
            return self.current.token

    def _open(self) -> AgentSession:
        try:
            session = self._wire.post(
                f"{PREFIX}/session", self._hello, AgentSession, authorization=f"Token {self._key}"
            )
        except SessionEnded as error:
            raise ServerRefuses(f"the agent key is not valid: {error}") from error
        self._adopt(session)
        logger.info("session_opened", agent=session.agent, lease_seconds=session.lease_seconds)
        return session

    def _adopt(self, session: AgentSession) -> None:
        self._session = session
        life = min(session.expires_at, session.logs.expires_at) / 1e6 - time.time()
        self._fresh_until = time.monotonic() + MIN_RENEW_SECONDS
        self._renew_at = time.monotonic() + max(MIN_RENEW_SECONDS, life / 2)
