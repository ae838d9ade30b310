"""Pushes images that no honest tool makes, and runs them."""

import base64
import hashlib
import json
import re
from pathlib import Path

import httpx
from images import busybox

from openhtc.client.images.layer import Layer
from openhtc.client.images.layout import Image, ImageConfig, blob_path, write_layout

from ..stack import Api, Json, Stack, Task, batch, ok

AGENT_MIB = 150
"""What an agent may take at any size of a log or an image."""
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def agent_peak_mib(stack: Stack) -> float:
    agent = stack.process("agent")
    assert agent is not None
    status = Path(f"/proc/{agent.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) / 1024


class Hostile:
    def __init__(self, api: Api, project: Json, folder: Path, task: Task) -> None:
        self._api, self._project, self._folder, self._task = api, project, folder, task

    def run(self, name: str, image: Image, *commands: str) -> tuple[Json, list[str]]:
        """Push the image, run one job of it to its end; the job and its log."""
        self.push(name, image)
        job = self.submit(name, *commands)
        self._task.wait_for_end()
        return self._task.job(job), self._task.log(job)

    def push(self, name: str, image: Image) -> None:
        self._api.push(self._project, image, f"{name}:1")

    def submit(self, name: str, *commands: str) -> str:
        """The id of a job."""
        return self._task.submit_one(batch(*commands, image=f"{name}:1"))

    def push_liar(self, name: str, image: Image, layer_bytes: int) -> None:
        """Push the image, then in its place a manifest that gives its layer another size."""
        self.push(name, image)
        manifest = json.loads(blob_path(image.layout, image.digest).read_bytes())
        manifest["layers"][0]["size"] = layer_bytes
        data = json.dumps(manifest).encode()
        host, _, prefix = self._project["containerRegistry"].partition("/")
        repository = f"{prefix}{name}"
        headers = {"Authorization": f"Bearer {self._registry_token(repository)}", "Content-Type": _MANIFEST}
        url = f"http://{host}/v2/{repository}/manifests/1"
        answer = httpx.put(url, content=data, headers=headers, trust_env=False)
        assert answer.status_code == 201, answer.text
        assert answer.headers["Docker-Content-Digest"] == f"sha256:{hashlib.sha256(data).hexdigest()}"

    def _registry_token(self, repository: str) -> str:
        password = self._api.get(f"/htc/projects/{self._project['projectId']}/container-registry/token").text
        basic = base64.b64encode(f"AWS:{password}".encode()).decode()
        answer = httpx.get(
            f"{str(self._api.base_url).split('/api/')[0]}/registry/token",
            params={"service": "openhtc-registry", "scope": f"repository:{repository}:pull,push"},
            headers={"Authorization": f"Basic {basic}"},
            trust_env=False,
        )
        token: str = ok(answer)["token"]
        return token

    def configured(self, config: ImageConfig) -> Image:
        return busybox.build(self._folder / "layout", "1", config)

    def with_link(self, name: str, target: str) -> Image:
        """busybox with ``name`` as a symbolic link."""
        layer = _busybox("sh", "ls", "cat", "id")
        layer.add_link(name, target)
        return self._written(layer)

    def with_files(self, count: int, content: bytes = b"") -> Image:
        """busybox with so many files."""
        layer = _busybox("sh", "ls", "cat", "wc", "find")
        for number in range(count):
            if number % 1000 == 0:
                layer.add_folder(f"many/{number // 1000}")
            layer.add_file(f"many/{number // 1000}/{number}", content)
        return self._written(layer)

    def _written(self, layer: Layer) -> Image:
        return write_layout(self._folder / "layout", "1", layer.pack(), ImageConfig())


def _busybox(*applets: str) -> Layer:
    layer = Layer()
    busybox.add_skeleton(layer)
    layer.add_folder("bin")
    layer.add_file("bin/busybox", busybox.BUSYBOX.resolve().read_bytes(), 0o755)
    for applet in applets:
        layer.add_link(f"bin/{applet}", "busybox")
    return layer
