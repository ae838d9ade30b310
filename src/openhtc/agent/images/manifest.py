"""What a registry says an image consists of: Docker's schema 2 and OCI, which differ only in names."""

import hashlib
import platform
from typing import Any

import msgspec

from openhtc.agent.images.config import ImageConfig
from openhtc.agent.images.errors import ImageError

INDEX_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFEST_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_MAX_PATH, _MAX_NAME = 4096, 255
MAX_LAYERS = 512
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_HASHES = {"sha256": 64, "sha512": 128}


class Platform(msgspec.Struct, frozen=True):
    architecture: str = ""
    os: str = ""


class Descriptor(msgspec.Struct, frozen=True, rename="camel"):
    digest: str
    size: int
    media_type: str = ""
    platform: Platform | None = None


class _Document(msgspec.Struct, frozen=True, rename="camel"):
    schema_version: int
    media_type: str = ""
    manifests: list[Descriptor] | None = None
    config: Descriptor | None = None
    layers: list[Descriptor] | None = None


class Manifest(msgspec.Struct, frozen=True):
    config: Descriptor
    layers: list[Descriptor]


class _Run(msgspec.Struct, frozen=True, rename="pascal"):
    entrypoint: list[str] | None = None
    cmd: list[str] | None = None
    env: list[str] | None = None
    user: str | None = None
    working_dir: str | None = None


class _ConfigFile(msgspec.Struct, frozen=True):
    config: _Run | None = None


def read(data: bytes) -> Manifest | Descriptor:
    """A manifest, or the descriptor of this machine's manifest when ``data`` is an index. Raises ImageError."""
    document = _decode(data, _Document, "manifest")
    if document.schema_version != 2:
        raise ImageError(f"the image's manifest has schema version {document.schema_version}, expected 2")
    if document.manifests is not None:
        return _choose(document.manifests)
    if document.config is None or document.layers is None:
        raise ImageError(f"this is not a container image: its manifest ({document.media_type}) has no layers")
    if len(document.layers) > MAX_LAYERS:
        raise ImageError(f"the image has {len(document.layers)} layers, at most {MAX_LAYERS} are accepted")
    for descriptor in (document.config, *document.layers):
        check_digest_form(descriptor.digest)
        if descriptor.size < 0:
            raise ImageError("the image's manifest gives a negative size")
    return Manifest(document.config, document.layers)


def read_config(data: bytes) -> ImageConfig:
    run = _decode(data, _ConfigFile, "configuration").config or _Run()
    env = (entry.partition("=") for entry in run.env or ())
    for word in (*(run.entrypoint or ()), *(run.cmd or ()), *(run.env or ()), run.user or ""):
        if "\0" in word:
            raise ImageError("the image's configuration has a zero byte in it")
    _check_workdir(run.working_dir or "")
    return ImageConfig(
        entrypoint=tuple(run.entrypoint or ()),
        cmd=tuple(run.cmd or ()),
        env=tuple((name, value) for name, _, value in env if name),
        user=run.user or "",
        workdir=run.working_dir or "",
    )


def _check_workdir(path: str) -> None:
    if not path:
        return
    parts = path.encode(errors="surrogatepass").split(b"/")
    sound = path.startswith("/") and len(path) < _MAX_PATH and all(len(part) <= _MAX_NAME for part in parts)
    if not sound or any(ord(character) < 32 for character in path):
        raise ImageError(f"the image's working directory {path[:100]!r} is not an absolute path")


def check_digest_form(digest: str) -> None:
    algorithm, _, value = digest.partition(":")
    if len(value) != _HASHES.get(algorithm, -1) or set(value) - set("0123456789abcdef"):
        raise ImageError(f"{digest[:100]!r} is not a digest (sha256: or sha512: and hexadecimal digits)")


def verify(data: bytes, digest: str, what: str) -> None:
    """Raise ImageError when ``data`` does not have the digest it was asked for by."""
    check_digest_form(digest)
    algorithm, _, value = digest.partition(":")
    if hashlib.new(algorithm, data).hexdigest() != value:
        raise ImageError(f"the registry sent another {what} than {digest}", transient=True)


def _choose(manifests: list[Descriptor]) -> Descriptor:
    wanted = _ARCHITECTURES[platform.machine()]
    offered = []
    for descriptor in manifests:
        made_for = descriptor.platform or Platform()
        if made_for.os == "linux" and made_for.architecture == wanted:
            check_digest_form(descriptor.digest)
            return descriptor
        offered.append(f"{made_for.os or '?'}/{made_for.architecture or '?'}")
    raise ImageError(f"the image is not made for linux/{wanted}, only for {', '.join(sorted(set(offered)))}")


def _decode(data: bytes, kind: type[Any], what: str) -> Any:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ImageError(f"the image's {what} cannot be read: {error}") from error
