"""Reading an image from a registry by HTTP: digests and sizes checked while it streams, hiccups retried."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import httpx
import stamina

from openhtc.agent.images import manifest
from openhtc.agent.images.errors import ImageError
from openhtc.domain.work import ImageSource

_MAX_DOCUMENT = 8 << 20
_LOOK_BYTES = 64 << 20
"""How much of a layer is written before somebody looks again whether there is room."""
_TIMEOUT = httpx.Timeout(30.0, connect=10.0)
_ACCEPT = ", ".join((*manifest.MANIFEST_TYPES, *manifest.INDEX_TYPES))
_BUSY = (408, 425, 429, 500, 502, 503, 504)


class _TryAgain(Exception):
    """The registry may answer the same request better in a moment."""


class Registry:
    """One image's repository; use as a context manager, from one thread."""

    def __init__(self, source: ImageSource, *, attempts: int = 5) -> None:
        headers = {"Authorization": f"Bearer {source.token}"} if source.token else {}
        base = f"{source.url.rstrip('/')}/v2/{source.repository}"
        self._source = source
        self._base = base
        self._attempts = attempts
        # The authorization is left behind when the registry sends us on to an object store.
        self._http = httpx.Client(headers=headers, timeout=_TIMEOUT, follow_redirects=True, trust_env=False)

    def __enter__(self) -> "Registry":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def read_manifest(self) -> manifest.Manifest:
        """The manifest for this machine. Raises ImageError."""
        digest = self._source.digest
        for _ in range(3):  # an index may lead to an index
            manifest.check_digest_form(digest)
            data = self._document(f"{self._base}/manifests/{digest}", digest, "manifest")
            found = manifest.read(data)
            if isinstance(found, manifest.Manifest):
                return found
            digest = found.digest
        raise ImageError("the image's index leads to an index and so on")

    def read_config(self, descriptor: manifest.Descriptor) -> bytes:
        return self._document(f"{self._base}/blobs/{descriptor.digest}", descriptor.digest, "configuration")

    def download_layer(
        self, descriptor: manifest.Descriptor, file: Path, make_room: Callable[[], None]
    ) -> None:
        """Write a layer, still compressed, to ``file``. Raises ImageError; ``make_room`` may, too."""
        self._retried(lambda: self._stream(descriptor, file, make_room), f"layer {descriptor.digest[:19]}")

    def _document(self, url: str, digest: str, what: str) -> bytes:
        found: list[bytes] = []
        self._retried(lambda: found.append(self._fetch(url, what)), what)
        manifest.verify(found[-1], digest, what)
        return found[-1]

    def _fetch(self, url: str, what: str) -> bytes:
        data = bytearray()
        with self._http.stream("GET", url, headers={"Accept": f"{_ACCEPT}, */*"}) as response:
            self._check(response, what)
            for piece in response.iter_bytes():
                data += piece
                if len(data) > _MAX_DOCUMENT:
                    raise ImageError(f"the image's {what} is larger than {_MAX_DOCUMENT >> 20} MiB")
        return bytes(data)

    def _stream(self, descriptor: manifest.Descriptor, file: Path, make_room: Callable[[], None]) -> None:
        algorithm, _, value = descriptor.digest.partition(":")
        digest, size = hashlib.new(algorithm), 0
        url = f"{self._base}/blobs/{descriptor.digest}"
        with self._http.stream("GET", url, headers={"Accept-Encoding": "identity"}) as response:
            self._check(response, "layer")
            with file.open("wb") as out:
                for piece in response.iter_raw(1 << 20):
                    size += len(piece)
                    if size > descriptor.size:
                        break
                    digest.update(piece)
                    out.write(piece)
                    if size // _LOOK_BYTES > (size - len(piece)) // _LOOK_BYTES:
                        make_room()
        if size != descriptor.size or digest.hexdigest() != value:
            raise _TryAgain(f"the registry sent something else than the layer {descriptor.digest}")

    def _check(self, response: httpx.Response, what: str) -> None:
        status = response.status_code
        if status == 200:
            return
        if status in _BUSY:
            raise _TryAgain(f"the registry answers {status}")
        name = f"{self._source.repository}@{self._source.digest}"
        if status in (401, 403):
            raise ImageError(f"the registry does not let us read {name} ({status})", transient=True)
        if status == 404:
            raise ImageError(f"the registry does not have the {what} of {name}")
        raise ImageError(f"the registry answers {status} for the {what} of {name}", transient=True)

    def _retried(self, work: Callable[[], None], what: str) -> None:
        try:
            for attempt in stamina.retry_context(
                on=(_TryAgain, httpx.TransportError),
                attempts=self._attempts,
                timeout=None,
                wait_initial=0.2,
                wait_max=10.0,
            ):
                with attempt:
                    work()
        except (_TryAgain, httpx.HTTPError) as error:
            reason = str(error) or type(error).__name__
            raise ImageError(f"the image's {what} could not be pulled: {reason}", transient=True) from error
        except httpx.InvalidURL as error:
            raise ImageError(f"the registry's address is not a URL: {error}") from error
