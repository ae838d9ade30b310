"""Unpacked images on this node: pulled once, shared by all jobs, least recently used ones go first.

``<cache>/<algorithm>-<hex>/`` holds ``rootfs`` and ``image.json``. It is made under another name and renamed
when it is whole, so that what has this name is always complete.
"""

import contextlib
import os
import shutil
import stat
import threading
import uuid
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import structlog

from openhtc.agent.images import manifest
from openhtc.agent.images.config import ImageConfig
from openhtc.agent.images.errors import ImageError
from openhtc.agent.images.registry import Registry
from openhtc.agent.images.unpack import unpack
from openhtc.agent.sandbox import linux
from openhtc.agent.sandbox.files import remove_tree
from openhtc.agent.sandbox.ids import IdMap
from openhtc.domain.work import ImageSource

log = structlog.get_logger(__name__)

_UNFINISHED = ".unfinished-"
_SPARE_BYTES = 256 << 20
"""Of the disk, for the logs and the journal of jobs that run: no image takes them."""


@dataclass(frozen=True, slots=True)
class Image:
    """An unpacked image. ``rootfs`` is read-only for everyone: jobs get an overlay over it."""

    digest: str
    rootfs: Path
    config: ImageConfig
    size: int
    """Bytes on disk, about."""


class _Record(msgspec.Struct, frozen=True):
    """``image.json``. ``ids``: first host id and number of ids that the files' owners were shifted to."""

    digest: str
    size: int
    ids: tuple[int, int]
    config: ImageConfig


@dataclass(slots=True)
class _Held:
    image: Image
    users: int = 0


@dataclass(slots=True)
class _State:
    """Under the store's lock. ``images`` is in the order of use, the latest last."""

    images: dict[str, _Held] = field(default_factory=dict)
    pulls: dict[str, "Future[None]"] = field(default_factory=dict)


class ImageStore:
    """Thread-safe. One per cache directory; unprivileged users must be able to traverse its parents."""

    def __init__(self, cache_dir: Path, max_bytes: int, ids: IdMap) -> None:
        """``max_bytes``: what any unpacked image may take, and all of them; those in use are kept even beyond it."""
        self._cache = cache_dir
        self._max_bytes = max_bytes
        self._ids = ids
        self._lock = threading.Lock()
        self._state = _State()
        cache_dir.mkdir(parents=True, exist_ok=True)
        cache_dir.chmod(0o711)
        self._load()

    def acquire(self, source: ImageSource) -> Image:
        """The image, pulled if need be; one pull serves all concurrent callers. Raises ImageError.

        Pair with release(); an acquired image is never evicted.
        """
        manifest.check_digest_form(source.digest)
        while True:
            with self._lock:
                held = self._state.images.pop(source.digest, None)
                if held is not None:
                    self._state.images[source.digest] = held
                    held.users += 1
                    return held.image
                pull = self._state.pulls.get(source.digest)
                mine = pull is None
                if pull is None:
                    pull = self._state.pulls[source.digest] = Future()
            if mine:
                self._pull(source, pull)
            pull.result()

    def release(self, image: Image) -> None:
        with self._lock:
            held = self._state.images[image.digest]
            held.users -= 1
        with contextlib.suppress(OSError):
            os.utime(image.rootfs.parent / "image.json")
        self._evict()

    def digests(self) -> list[str]:
        """What is unpacked here, most recently used first."""
        with self._lock:
            return list(reversed(self._state.images))

    def _pull(self, source: ImageSource, done: "Future[None]") -> None:
        try:
            held = _Held(self._fetch(source))
        except BaseException as error:  # noqa: BLE001 - handed to everyone who waits for this pull
            with self._lock:
                del self._state.pulls[source.digest]
            done.set_exception(error)
            return
        with self._lock:
            self._state.images[source.digest] = held
            del self._state.pulls[source.digest]
        done.set_result(None)
        self._evict(keep=source.digest)

    def _fetch(self, source: ImageSource) -> Image:
        work = self._cache / f"{_UNFINISHED}{uuid.uuid4().hex}"
        work.mkdir(mode=0o711)
        try:
            record = self._unpack(source, work)
            place = self._place(source.digest)
            work.rename(place)
        except OSError as error:
            raise ImageError(f"the node could not store the image: {error}", transient=True) from error
        finally:
            if work.exists():
                remove_tree(work)
        log.info("image_pulled", digest=source.digest, repository=source.repository, bytes=record.size)
        return Image(source.digest, place / "rootfs", record.config, record.size)

    def _unpack(self, source: ImageSource, work: Path) -> _Record:
        layers: list[Path] = []
        with Registry(source) as registry:
            found = registry.read_manifest()
            size = sum(layer.size for layer in found.layers)
            if size > self._max_bytes:
                raise ImageError(
                    f"the image has {size >> 20} MiB, at most {self._max_bytes >> 20} are accepted on this node"
                )
            config = manifest.read_config(registry.read_config(found.config))
            for number, layer in enumerate(found.layers):
                self._make_room(layer.size)
                layers.append(work / f"layer-{number}")
                registry.download_layer(layer, layers[-1], self._make_room)
        size = self._lay_out(layers, work / "rootfs")
        _check_mount_points(work / "rootfs")
        for file in layers:
            file.unlink()
        record = _Record(source.digest, size, (self._ids.base, self._ids.count), config)
        (work / "image.json").write_bytes(msgspec.json.encode(record))
        linux.sync_filesystem(work)
        return record

    def _lay_out(self, layers: list[Path], root: Path) -> int:
        """Once more without the images that nobody uses, when they may be in the way."""
        root.mkdir()
        try:
            return unpack(layers, root, self._ids, self._max_bytes, _SPARE_BYTES)
        except ImageError as error:
            if not error.transient or not self._remove_oldest():
                raise
        while self._remove_oldest():
            pass
        remove_tree(root)
        root.mkdir()
        return unpack(layers, root, self._ids, self._max_bytes, _SPARE_BYTES)

    def _make_room(self, size: int = 0) -> None:
        """Remove images that nobody uses until so many bytes fit beside what jobs need. Raises ImageError."""
        while (free := shutil.disk_usage(self._cache).free) - size < _SPARE_BYTES:
            if not self._remove_oldest():
                raise ImageError(
                    f"the node's disk has {free >> 20} MiB left: too little for the image", transient=True
                )

    def _evict(self, keep: str | None = None) -> None:
        while self._size() > self._max_bytes and self._remove_oldest(keep):
            pass

    def _size(self) -> int:
        with self._lock:
            return sum(held.image.size for held in self._state.images.values())

    def _remove_oldest(self, keep: str | None = None) -> bool:
        """Of the images that nobody uses; False when there is none."""
        with self._lock:
            unused = (image for image, held in self._state.images.items() if not held.users and image != keep)
            if (digest := next(unused, None)) is None:
                return False
            held = self._state.images.pop(digest)
            grave = self._cache / f"{_UNFINISHED}{uuid.uuid4().hex}"
            self._place(digest).rename(grave)
        log.info("image_evicted", digest=digest, bytes=held.image.size)
        try:
            remove_tree(grave)
        except OSError as error:
            log.error("image_not_removed", path=str(grave), error=str(error))
        return True

    def _load(self) -> None:
        """Take over what an earlier agent unpacked; remove what it did not finish."""
        kept: list[tuple[float, _Record]] = []
        for entry in self._cache.iterdir():
            record = self._read(entry)
            if record is None:
                remove_tree(entry)
            else:
                kept.append(((entry / "image.json").stat().st_mtime, record))
        for _, record in sorted(kept, key=lambda pair: pair[0]):
            rootfs = self._place(record.digest) / "rootfs"
            self._state.images[record.digest] = _Held(
                Image(record.digest, rootfs, record.config, record.size)
            )

    def _read(self, entry: Path) -> _Record | None:
        """None for anything that is not a whole image with the owners that we need."""
        try:
            record = msgspec.json.decode((entry / "image.json").read_bytes(), type=_Record)
        except (OSError, msgspec.MsgspecError):
            return None
        fits = record.ids == (self._ids.base, self._ids.count) and self._place(record.digest) == entry
        return record if fits and (entry / "rootfs").is_dir() else None

    def _place(self, digest: str) -> Path:
        return self._cache / digest.replace(":", "-")


_MOUNT_POINTS = (
    "proc",
    "sys",
    "sys/devices",
    "sys/devices/system",
    "dev",
    "dev/pts",
    "dev/shm",
    "dev/mqueue",
)


def _check_mount_points(rootfs: Path) -> None:
    """Where a runtime mounts and makes nodes by path, a link of the image would lead it out of the container."""
    for name in _MOUNT_POINTS:
        place = rootfs / name
        if os.path.lexists(place) and not stat.S_ISDIR(place.lstat().st_mode):
            raise ImageError(f"/{name} of the image is not a directory")
