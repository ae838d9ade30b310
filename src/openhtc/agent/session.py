"""The agent's standing with the server: opened with the agent key, renewed, reopened when it ended."""

import os
import re
import threading
import time
from pathlib import Path
from typing import TypeVar

import msgspec
import structlog

from openhtc.agent.wire import RequestInvalid, ServerAway, ServerRefuses, SessionEnded, Wire
from openhtc.domain.work import AgentHello, AgentSession

PREFIX = "/agent/v1"
MIN_RENEW_SECONDS = 30.0
"""Not more often than this, also when the two clocks disagree."""

RENEW_AGAIN_SECONDS = 5.0

_TOKEN = re.compile(r"[\w.-]+")
"""What a crash of the machine left in the file may be anything."""

AnswerType = TypeVar("AnswerType")

logger = structlog.get_logger(__name__)


class Session:
    """Thread-safe. Every request of the agent goes through ``post``."""

    def __init__(self, wire: Wire, hello: AgentHello, key: str, memory: Path | None = None) -> None:
        """``memory``: a file that keeps the last token, with which an agent that is started again proves who it is."""
        self._wire = wire
        self._memory = memory
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
        hello = msgspec.structs.replace(self._hello, former=self._remembered())
        try:
            session = self._wire.post(
                f"{PREFIX}/session", hello, AgentSession, authorization=f"Token {self._key}"
            )
        except SessionEnded as error:
            raise ServerRefuses(f"the agent key is not valid: {error}") from error
        self._adopt(session)
        logger.info("session_opened", agent=session.agent, lease_seconds=session.lease_seconds)
        return session

    def _remembered(self) -> str:
        if self._session is not None:
            return self._session.token
        try:
            found = "" if self._memory is None else self._memory.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            return ""
        return found if _TOKEN.fullmatch(found) else ""

    def _remember(self, token: str) -> None:
        """Whoever has the token can report as this agent: nobody else may read it."""
        if self._memory is None:
            return
        new = self._memory.with_name(self._memory.name + ".new")
        try:
            with os.fdopen(
                os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w"
            ) as file:
                file.write(token)
            new.replace(self._memory)
        except (
            OSError
        ) as error:  # on a full disk: what this life does cannot be told in the next one, that is all
            logger.warning("token_not_kept", error=str(error))

    def _adopt(self, session: AgentSession) -> None:
        self._session = session
        self._remember(session.token)
        life = min(session.expires_at, session.logs.expires_at) / 1e6 - (session.now / 1e6 or time.time())
        self._fresh_until = time.monotonic() + MIN_RENEW_SECONDS
        self._renew_at = time.monotonic() + max(MIN_RENEW_SECONDS, life / 2)
