"""What the server asks the image registry: digests and tags."""

from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Self
from urllib.parse import urljoin

import httpx
import msgspec
import stamina

from openhtc.domain.errors import Unavailable
from openhtc.registry.scopes import Access
from openhtc.registry.tokens import RegistryTokens

MANIFEST_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
"""Asked for together: the registry would convert a type that is missing here and change the digest."""

_TIMEOUT = httpx.Timeout(10, connect=3)
_LIMITS = httpx.Limits(max_connections=32, max_keepalive_connections=16)
_TOKEN_SECONDS = 120
_PAGE = 500
_MAX_PAGES = 200


class _Tags(msgspec.Struct):
    tags: list[str] | None = None


class RegistryClient:
    """Reads from the registry with tokens it signs itself. Methods raise Unavailable.

    url is the registry's root, e.g. ``http://127.0.0.1:5000``.
    """

    def __init__(
        self,
        url: str,
        tokens: RegistryTokens,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._url = url.rstrip("/")
        self._tokens = tokens
        self._clock = clock
        self._http = httpx.AsyncClient(timeout=_TIMEOUT, limits=_LIMITS, trust_env=False)

    async def aclose(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def resolve(self, repository: str, tag: str) -> str | None:
        """The digest (``sha256:…``) of a tag, None when the registry does not know it.

        repository is the whole path, ``aws.com/<projectId>/<repo>``.
        """
        url = f"{self._url}/v2/{repository}/manifests/{tag}"
        answer = await self._send("HEAD", url, repository, {"Accept": ", ".join(MANIFEST_TYPES)})
        if answer.status_code == 404:
            return None
        _expect_ok(answer, f"looking up {repository}:{tag}")
        digest = answer.headers.get("Docker-Content-Digest")
        if not digest:
            raise Unavailable(f"The registry named no digest for {repository}:{tag}")
        return str(digest)

    async def tags(self, repository: str) -> list[str]:
        """All tags of a repository, sorted; empty when it does not exist or holds nothing."""
        found: set[str] = set()
        url = f"{self._url}/v2/{repository}/tags/list?n={_PAGE}"
        for _ in range(_MAX_PAGES):
            answer = await self._send("GET", url, repository, {})
            if answer.status_code == 404:
                break
            _expect_ok(answer, f"listing tags of {repository}")
            found.update(msgspec.json.decode(answer.content, type=_Tags).tags or [])
            following = answer.links.get("next", {}).get("url")
            if following is None:
                break
            url = urljoin(url, following)
        return sorted(found)

    async def healthy(self) -> bool:
        """Whether the registry answers and accepts our tokens."""
        try:
            answer = await self._send("GET", f"{self._url}/v2/", None, {})
        except Unavailable:
            return False
        return answer.status_code == 200

    async def _send(
        self, method: str, url: str, repository: str | None, headers: dict[str, str]
    ) -> httpx.Response:
        access = [] if repository is None else [Access(repository, ("pull",))]
        token = self._tokens.sign("openhtc-server", access, _TOKEN_SECONDS, self._clock())
        request = {**headers, "Authorization": f"Bearer {token}"}
        try:
            async for attempt in stamina.retry_context(on=httpx.TransportError, attempts=3, timeout=15):
                with attempt:
                    return await self._http.request(method, url, headers=request)
        except httpx.HTTPError as error:
            raise Unavailable(
                f"The image registry at {self._url} does not answer: {type(error).__name__} {error}"
            ) from error
        raise AssertionError("a retry context returns or raises")


def _expect_ok(answer: httpx.Response, doing: str) -> None:
    if answer.status_code != 200:
        raise Unavailable(f"The image registry answered {answer.status_code} when {doing}")
