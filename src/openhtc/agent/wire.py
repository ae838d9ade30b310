"""One request to the server and what its answer means. No retries here."""

from typing import TypeVar

import httpx
import msgspec

from openhtc.domain.errors import OpenhtcError

ANSWER_SECONDS = 30.0
CONNECT_SECONDS = 5.0
_MAX_TEXT = 300
_PASSING = (408, 425, 429)
_FATAL = (403, 409)

AnswerType = TypeVar("AnswerType")


class ServerAway(OpenhtcError):
    """No usable answer: connection trouble, an error of the server, something in between. It passes."""

    code = "SERVER_AWAY"


class SessionEnded(OpenhtcError):
    """The token is not valid (any more): a new session is needed."""

    code = "SESSION_ENDED"


class ServerRefuses(OpenhtcError):
    """The server does not want this agent (403, 409): going on makes no sense."""

    code = "SERVER_REFUSES"


class RequestInvalid(OpenhtcError):
    """The server cannot accept this body (other 4xx): the same body will never be accepted."""

    code = "REQUEST_INVALID"


class Wire:
    """Thread-safe."""

    def __init__(self, server_url: str, user_agent: str) -> None:
        self._client = httpx.Client(
            base_url=server_url.rstrip("/"),
            headers={"Content-Type": "application/json", "User-Agent": user_agent},
            timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            trust_env=False,
        )

    def post(
        self,
        path: str,
        body: msgspec.Struct | None,
        answer: type[AnswerType],
        *,
        authorization: str,
        wait_seconds: float = 0.0,
    ) -> AnswerType:
        """The decoded answer of a 2xx. ``wait_seconds``: how long the server may think beyond the usual.

        Raises ServerAway, SessionEnded, ServerRefuses or RequestInvalid.
        """
        timeout = httpx.Timeout(ANSWER_SECONDS + wait_seconds, connect=CONNECT_SECONDS)
        content = msgspec.json.encode(body) if body is not None else b"{}"
        try:
            response = self._client.post(
                path, content=content, headers={"Authorization": authorization}, timeout=timeout
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ServerAway(f"{path}: {type(error).__name__}: {error}") from error
        return _decode(path, response, answer)

    def close(self) -> None:
        self._client.close()


def _decode(path: str, response: httpx.Response, answer: type[AnswerType]) -> AnswerType:
    if not response.is_success:
        raise _refusal(response.status_code)(f"{path}: {response.status_code} {response.text[:_MAX_TEXT]}")
    try:
        return msgspec.json.decode(response.content, type=answer)
    except msgspec.DecodeError as error:
        raise ServerAway(f"{path}: the answer cannot be read: {error}") from error


def _refusal(status: int) -> type[OpenhtcError]:
    if status == 401:
        return SessionEnded
    if status in _FATAL:
        return ServerRefuses
    if 400 <= status < 500 and status not in _PASSING:
        return RequestInvalid
    return ServerAway
