"""Pulling from a real registry, and what the node keeps."""

import hashlib
import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from openhtc.agent.images.errors import ImageError
from openhtc.agent.images.store import ImageStore
from openhtc.agent.images.unpack import unpack
from openhtc.agent.sandbox.ids import IdMap
from openhtc.domain.work import ImageSource

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
GIB = 1 << 30


class Registry:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            self.port: int = sock.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        config = directory / "config.yml"
        storage = f"storage: {{filesystem: {{rootdirectory: {directory / 'data'}}}}}"
        config.write_text(
            f"version: 0.1\nlog: {{level: error}}\n{storage}\nhttp: {{addr: '127.0.0.1:{self.port}'}}\n"
        )
        with (directory / "log").open("wb") as log:
            command = ["docker-registry", "serve", str(config)]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env={"PATH": os.environ["PATH"]})
        deadline = time.monotonic() + 20
        while not self._answers():
            assert time.monotonic() < deadline, (directory / "log").read_text()
            time.sleep(0.02)

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/v2/").status_code == 200
        except httpx.TransportError:
            return False

    def push(self, name: str, files: dict[str, str], form: str = "oci", **config: str) -> ImageSource:
        """Build an image of these files and push it; where it can be pulled."""
        layout, tree = self.directory / f"layout-{name}", self.directory / f"tree-{name}"
        for path, text in files.items():
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).write_text(text)
        image = f"{layout}:1"
        _run("umoci", "init", "--layout", str(layout))
        _run("umoci", "new", "--image", image)
        _run("umoci", "insert", "--image", image, str(tree), "/")
        options = [f"--config.{key}={value}" for key, value in config.items()]
        _run("umoci", "config", "--image", image, *options)
        target = f"docker://127.0.0.1:{self.port}/lab/{name}:1"
        _run("skopeo", "copy", "--dest-tls-verify=false", f"--format={form}", f"oci:{image}", target)
        return ImageSource(self.url, f"lab/{name}", self.digest(f"lab/{name}", "1"), "")

    def digest(self, repository: str, reference: str) -> str:
        accept = (
            "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
        )
        answer = httpx.head(f"{self.url}/v2/{repository}/manifests/{reference}", headers={"Accept": accept})
        return str(answer.headers["Docker-Content-Digest"])


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    for program in ("docker-registry", "umoci", "skopeo"):
        if shutil.which(program) is None:
            pytest.skip(f"the program {program} is missing")
    server = Registry(tmp_path_factory.mktemp("registry"))
    yield server
    server.process.kill()
    server.process.wait()


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "cache", GIB, IdMap.privileged())


@pytest.mark.parametrize("form", ["oci", "v2s2"])
def test_pull(registry, store, form):
    source = registry.push(
        f"plain-{form}",
        {"etc/motd": "hi\n"},
        form,
        entrypoint="/bin/sh",
        cmd="-c",
        user="7:8",
        workingdir="/w",
    )
    image = store.acquire(source)
    assert (image.rootfs / "etc/motd").read_text() == "hi\n"
    assert (image.rootfs / "etc/motd").stat().st_uid == 1_000_000
    assert (image.config.entrypoint, image.config.cmd) == (("/bin/sh",), ("-c",))
    assert (image.config.user, image.config.workdir) == ("7:8", "/w")
    assert image.rootfs.parent.name == source.digest.replace(":", "-")
    assert store.digests() == [source.digest]
    assert not list(image.rootfs.parent.glob("layer*"))


def test_an_index_leads_to_this_machines_image(registry, store):
    source = registry.push("single", {"f": "1"})
    accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
    size = len(httpx.get(f"{registry.url}/v2/lab/single/manifests/1", headers=accept).content)
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]

    def index(*architectures: str) -> ImageSource:
        kind = "application/vnd.oci.image.index.v1+json"
        entry = {"mediaType": accept["Accept"], "digest": source.digest, "size": size}
        manifests = [{**entry, "platform": {"os": "linux", "architecture": name}} for name in architectures]
        body = json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": manifests}).encode()
        digest = "sha256:" + hashlib.sha256(body).hexdigest()
        url = f"{registry.url}/v2/lab/single/manifests/{digest}"
        assert httpx.put(url, content=body, headers={"Content-Type": kind}).status_code == 201
        return ImageSource(registry.url, "lab/single", digest, "")

    assert (store.acquire(index("s390x", machine)).rootfs / "f").read_text() == "1"
    with pytest.raises(ImageError, match=f"not made for linux/{machine}, only for linux/s390x"):
        store.acquire(index("s390x"))


def test_one_pull_for_all_who_ask(registry, store, monkeypatch):
    source = registry.push("shared", {"f": "1"})
    pulls: list[str] = []
    unpack = store._unpack

    def counted(*args):
        pulls.append(args[0].digest)
        return unpack(*args)

    monkeypatch.setattr(store, "_unpack", counted)
    with ThreadPoolExecutor(8) as pool:
        images = list(pool.map(lambda _: store.acquire(source), range(8)))
    assert len(pulls) == 1
    assert len({id(image) for image in images}) == 1


def test_least_recently_used_images_go_first_and_used_ones_stay(registry, tmp_path):
    sources = [registry.push(f"lru{number}", {"f": "x" * 3_000_000 + str(number)}) for number in range(3)]
    store = ImageStore(tmp_path / "cache", 7_000_000, IdMap.privileged())
    first, second = store.acquire(sources[0]), store.acquire(sources[1])
    store.release(second)
    store.release(first)
    store.release(store.acquire(sources[0]))
    third = store.acquire(sources[2])
    assert store.digests() == [sources[2].digest, sources[0].digest], "the second was used longest ago"
    store.acquire(sources[0])
    again = store.acquire(sources[1])
    assert len(store.digests()) == 3, "nothing in use is evicted"
    store.release(again)
    assert set(store.digests()) == {sources[0].digest, sources[2].digest}
    assert third.rootfs.is_dir() and not again.rootfs.exists()


def test_a_new_agent_takes_over_what_is_whole(registry, tmp_path):
    cache = tmp_path / "cache"
    source = registry.push("kept", {"f": "1"})
    ImageStore(cache, GIB, IdMap.privileged()).acquire(source)
    (cache / ".unfinished-1/rootfs").mkdir(parents=True)
    (cache / "sha256-0000/rootfs").mkdir(parents=True)
    again = ImageStore(cache, GIB, IdMap.privileged())
    assert again.digests() == [source.digest]
    assert [path.name for path in cache.iterdir()] == [source.digest.replace(":", "-")]
    assert (again.acquire(source).rootfs / "f").exists()
    assert ImageStore(cache, GIB, IdMap.rootless()).digests() == [], "other owners are needed: pulled anew"


def test_what_is_not_there_is_said(registry, store):
    source = ImageSource(registry.url, "lab/none", "sha256:" + "0" * 64, "")
    with pytest.raises(ImageError, match="does not have the manifest of lab/none") as caught:
        store.acquire(source)
    assert not caught.value.transient
    with pytest.raises(ImageError, match="is not a digest"):
        store.acquire(ImageSource(registry.url, "lab/none", "latest", ""))
    assert store.digests() == []


def test_too_large_images_are_refused(registry, tmp_path):
    source = registry.push("large", {"f": os.urandom(300_000).hex()})
    store = ImageStore(tmp_path / "cache", 100_000, IdMap.privileged())
    with pytest.raises(ImageError, match="at most"):
        store.acquire(source)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_nearly_full_disk_is_left_to_the_jobs_that_run(registry, store, monkeypatch):
    used, unused, source = (registry.push(name, {"f": name}) for name in ("used", "unused", "roomless"))
    store.acquire(used)
    store.release(store.acquire(unused))
    monkeypatch.setattr("openhtc.agent.images.store._SPARE_BYTES", 1 << 60)
    with pytest.raises(ImageError, match="MiB left") as caught:
        store.acquire(source)
    assert caught.value.transient
    assert store.digests() == [used.digest], "the others made room first"


def test_unused_images_make_room_for_one_that_is_being_unpacked(registry, store, monkeypatch):
    used, unused, source = (registry.push(name, {"f": name}) for name in ("first", "second", "third"))
    store.acquire(used)
    store.release(store.acquire(unused))

    def narrow(*args):
        if unused.digest in store.digests():
            raise ImageError("too full", transient=True)
        return unpack(*args)

    monkeypatch.setattr("openhtc.agent.images.store.unpack", narrow)
    assert (store.acquire(source).rootfs / "f").read_text() == "third"
    assert store.digests() == [source.digest, used.digest]


class Between(BaseHTTPRequestHandler):
    """Stands between the store and the registry, and spoils answers."""

    registry: str
    spoil: Callable[["Between", httpx.Response], bool]
    seen: list[tuple[str, str | None]]

    def do_GET(self) -> None:
        self.seen.append((self.path, self.headers.get("Authorization")))
        answer = httpx.get(self.registry + self.path, headers={"Accept": self.headers["Accept"] or "*/*"})
        if type(self).spoil(self, answer):
            return
        self.reply(answer.status_code, answer.content)

    def reply(self, status: int, body: bytes, length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def between(registry: Registry) -> Iterator[Callable[..., tuple[str, type[Between]]]]:
    servers: list[ThreadingHTTPServer] = []

    def make(spoil: Callable[[Between, httpx.Response], bool]) -> tuple[str, type[Between]]:
        handler = type("Handler", (Between,), {"registry": registry.url, "spoil": spoil, "seen": []})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}", handler

    yield make
    for server in servers:
        server.shutdown()
        server.server_close()


def test_hiccups_are_retried_and_the_token_is_shown(registry, store, between):
    source = registry.push("flaky", {"f": "1"})
    failed: set[str] = set()

    def spoil(handler: Between, answer: httpx.Response) -> bool:
        if handler.path in failed:
            return False
        failed.add(handler.path)
        if "blobs" in handler.path:
            handler.reply(200, answer.content[: len(answer.content) // 2], len(answer.content))
            handler.connection.close()
        else:
            handler.reply(503, b"")
        return True

    url, handler = between(spoil)
    image = store.acquire(ImageSource(url, source.repository, source.digest, "tok"))
    assert (image.rootfs / "f").read_text() == "1"
    assert len(failed) == 3, "manifest, configuration and layer each failed once"
    assert {token for _, token in handler.seen} == {"Bearer tok"}


@pytest.mark.parametrize("part", ["manifests", "blobs"])
def test_altered_content_is_refused(registry, store, between, part, monkeypatch):
    monkeypatch.setattr("openhtc.agent.images.registry.Registry.__init__.__kwdefaults__", {"attempts": 2})
    source = registry.push(f"altered-{part}", {"f": "1"})

    def spoil(handler: Between, answer: httpx.Response) -> bool:
        if part in handler.path:
            handler.reply(200, answer.content[:-1] + b"?")
            return True
        return False

    url, _ = between(spoil)
    with pytest.raises(ImageError) as caught:
        store.acquire(ImageSource(url, source.repository, source.digest, ""))
    assert caught.value.transient
    assert store.digests() == []


@pytest.mark.parametrize(("status", "transient"), [(401, True), (403, True), (404, False)])
def test_refusals_are_not_retried(registry, store, between, status, transient):
    url, handler = between(lambda h, _: h.reply(status, b"") or True)
    with pytest.raises(ImageError) as caught:
        store.acquire(ImageSource(url, "lab/x", "sha256:" + "0" * 64, ""))
    assert caught.value.transient is transient
    assert len(handler.seen) == 1
