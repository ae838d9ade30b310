"""Requests with a bearer token that is always fresh, careful retries and pages."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec
import stamina

from openhtc.client.answers import decode
from openhtc.client.errors import HtcError, refusal

Params = Mapping[str, str | int | Sequence[str]]

_TIMEOUT = httpx.Timeout(60, connect=5)
_TRY_AGAIN = (502, 503, 504)
_RENEW_BEFORE_SECONDS = 300


class _Token(msgspec.Struct, rename="camel"):
    token_value: str
    expires_in: int


class _Page(msgspec.Struct):
    items: list[msgspec.Raw]
    next: str | None = None


class Transport:
    """HTTP to one service as one user; may be used by several threads.

    transport replaces the network (httpx's own seam). Every method raises HtcError.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str,
        *,
        transport: httpx.BaseTransport | None = None,
        attempts: int = 6,
        patience_seconds: float = 30.0,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._api_key = api_key
        self._attempts = attempts
        self._patience = patience_seconds
        self._token = ""
        self._renew_at = 0.0
        self._lock = threading.Lock()
        trust_env = not _is_loopback(self.base_url)
        self._http = httpx.Client(timeout=_TIMEOUT, transport=transport, trust_env=trust_env)

    def close(self) -> None:
        self._http.close()

    def get(self, path: str, params: Params | None = None) -> bytes:
        return self.request("GET", path, params=params, idempotent=True).content

    def post(
        self, path: str, body: Any = None, *, params: Params | None = None, idempotent: bool = False
    ) -> bytes:
        """Send ``body`` as JSON. Only what is idempotent is repeated once it may have arrived."""
        content = None if body is None else msgspec.json.encode(body)
        return self.request("POST", path, params=params, content=content, idempotent=idempotent).content

    def pages(self, path: str, params: Params | None = None) -> Iterator[msgspec.Raw]:
        """The items of a listing, page after page, each still encoded."""
        target = self.base_url + path
        while True:
            answer = self.request("GET", target, params=params, idempotent=True)
            page = decode(answer.content, _Page)
            yield from page.items
            if page.next is None:
                return
            target, params = self._own(page.next), None

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        content: bytes | None = None,
        idempotent: bool,
    ) -> httpx.Response:
        url = path if path.startswith("http") else self.base_url + path

        def send_as(token: str) -> httpx.Response:
            headers = {"Authorization": f"Bearer {token}"}
            if content is not None:
                headers["Content-Type"] = "application/json"
            return self._patiently(
                lambda: self._http.request(method, url, params=params, content=content, headers=headers),
                idempotent,
            )

        token = self.bearer_token()
        try:
            return send_as(token)
        except HtcError as error:
            if error.status != 401:
                raise
        self._forget(token)
        return send_as(self.bearer_token())

    def bearer_token(self) -> str:
        """A token that is valid for some minutes at least; asks for a new one when needed."""
        with self._lock:
            if time.monotonic() >= self._renew_at:
                answer = self._patiently(self._ask_for_token, idempotent=True)
                token = decode(answer.content, _Token)
                self._token = token.token_value
                self._renew_at = time.monotonic() + max(token.expires_in - _RENEW_BEFORE_SECONDS, 1)
            return self._token

    def with_key(self, path: str) -> bytes:
        """GET with the API key itself: for the few operations that describe the key's owner."""
        return self._patiently(lambda: self._with_key(path), idempotent=True).content

    def _ask_for_token(self) -> httpx.Response:
        return self._with_key("/auth/token")

    def _with_key(self, path: str) -> httpx.Response:
        return self._http.get(self.base_url + path, headers={"Authorization": f"Token {self._api_key}"})

    def _forget(self, token: str) -> None:
        with self._lock:
            if self._token == token:
                self._renew_at = 0.0

    def _own(self, url: str) -> str:
        """The link to a next page, which must lead to the same service: our token goes there."""
        if urlsplit(url)[:2] != urlsplit(self.base_url)[:2]:
            raise HtcError(200, "UNEXPECTED_ANSWER", f"The next page is at another service: {url}")
        return url

    def _patiently(self, send: Callable[[], httpx.Response], idempotent: bool) -> httpx.Response:
        def passing(error: Exception) -> bool:
            return _is_passing(error, idempotent)

        try:
            for attempt in stamina.retry_context(
                on=passing, attempts=self._attempts, timeout=self._patience, wait_initial=0.2, wait_max=3.0
            ):
                with attempt:
                    return _checked(send())
        except httpx.HTTPError as error:
            text = f"{self.base_url} cannot be reached: {str(error) or type(error).__name__}"
            raise HtcError(0, "UNREACHABLE", text) from error
        raise AssertionError("a retry context returns or raises")


def _checked(answer: httpx.Response) -> httpx.Response:
    if answer.status_code >= 400:
        raise refusal(answer.status_code, answer.content)
    return answer


def _is_passing(error: Exception, idempotent: bool) -> bool:
    """Whether the same request may be sent again: it never arrived, or repeating it changes nothing."""
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return True
    if isinstance(error, HtcError):
        return idempotent and error.status in _TRY_AGAIN
    return idempotent and isinstance(error, httpx.TransportError)


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
