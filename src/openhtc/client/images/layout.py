"""An image of one layer, written as an OCI layout: a folder that skopeo, podman and umoci read."""

import hashlib
import json
import platform
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from openhtc.client.images.layer import Packed


@dataclass(frozen=True)
class ImageConfig:
    """How containers of the image start; user is ``uid:gid`` or empty for root."""

    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    env: tuple[str, ...] = ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",)
    user: str = ""
    working_dir: str = "/"
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Image:
    """An image in a layout on this machine."""

    layout: Path
    tag: str
    digest: str
    compressed_bytes: int


def architecture() -> str:
    """What OCI calls this machine: amd64, arm64."""
    machine = platform.machine()
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


def write_layout(target: Path, tag: str, layer: Packed, config: ImageConfig) -> Image:
    """Write the layout in one step: either it is whole or it is not there. Replaces an older one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=".layout-", dir=target.parent))
    try:
        _write(fresh, tag, layer, config)
        shutil.rmtree(target, ignore_errors=True)
        fresh.rename(target)
    except OSError:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    return read_layout(target, tag)


def read_layout(layout: Path, tag: str) -> Image:
    """Raises OSError or LookupError when there is no such image."""
    index = json.loads((layout / "index.json").read_bytes())
    for described in index["manifests"]:
        if described.get("annotations", {}).get("org.opencontainers.image.ref.name") == tag:
            manifest = json.loads(blob_path(layout, described["digest"]).read_bytes())
            size = sum(layer["size"] for layer in manifest["layers"])
            return Image(layout, tag, described["digest"], size)
    raise LookupError(f"{layout} has no image {tag}")


def layer_files(image: Image) -> list[Path]:
    """The compressed layers, lowest first."""
    manifest = json.loads(blob_path(image.layout, image.digest).read_bytes())
    return [blob_path(image.layout, layer["digest"]) for layer in manifest["layers"]]


def blob_path(layout: Path, digest: str) -> Path:
    return layout / "blobs" / digest.replace(":", "/")


def _write(folder: Path, tag: str, layer: Packed, config: ImageConfig) -> None:
    (folder / "blobs" / "sha256").mkdir(parents=True)
    layers = [_blob(folder, "layer.v1.tar+gzip", layer.compressed)]
    described = _config(config, hashlib.sha256(layer.plain).hexdigest())
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": _blob(folder, "config.v1+json", _json(described)),
        "layers": layers,
    }
    entry = _blob(folder, "manifest.v1+json", _json(manifest))
    entry["annotations"] = {"org.opencontainers.image.ref.name": tag}
    (folder / "index.json").write_bytes(_json({"schemaVersion": 2, "manifests": [entry]}))
    (folder / "oci-layout").write_bytes(_json({"imageLayoutVersion": "1.0.0"}))
    folder.chmod(0o755)


def _config(config: ImageConfig, diff_id: str) -> dict[str, object]:
    start: dict[str, object] = {
        "Env": list(config.env),
        "Entrypoint": list(config.entrypoint),
        "Cmd": list(config.command),
        "User": config.user,
        "WorkingDir": config.working_dir,
        "Labels": config.labels,
    }
    return {
        "architecture": architecture(),
        "os": "linux",
        "config": {name: value for name, value in start.items() if value},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{diff_id}"]},
        "history": [{"created_by": "openhtc"}],
    }


def _blob(folder: Path, kind: str, data: bytes) -> dict[str, object]:
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    blob_path(folder, digest).write_bytes(data)
    return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": digest, "size": len(data)}


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def unpack(image: Image, folder: Path) -> None:
    """Lay an image that we made out in an existing directory. Only for our own: nothing is checked."""
    for layer in layer_files(image):
        subprocess.run(["tar", "-xf", layer, "-C", folder], check=True)
