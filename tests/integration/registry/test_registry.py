"""Our tokens and our client on a real registry, pushed to by skopeo."""

import gzip
import hashlib
import io
import json
import subprocess
import tarfile
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from openhtc.domain.errors import Unavailable
from openhtc.registry import Access, RegistryClient, RegistryTokens, repository_path

PROJECT = "11111111-2222-4333-8444-555555555555"
OTHER = "99999999-2222-4333-8444-555555555555"
Registry = Any


def write_layout(folder: Path, content: bytes) -> str:
    """An OCI layout with one image of one file; returns the digest of its manifest."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def blob(kind: str, data: bytes) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {
            "mediaType": f"application/vnd.oci.image.{kind}",
            "digest": f"sha256:{digest}",
            "size": len(data),
        }

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo("file")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    plain = buffer.getvalue()
    layer = blob("layer.v1.tar+gzip", gzip.compress(plain, mtime=0))
    config = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(plain).hexdigest()}"]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob("config.v1+json", json.dumps(config).encode()),
        "layers": [layer],
    }
    described = blob("manifest.v1+json", json.dumps(manifest).encode())
    described["annotations"] = {"org.opencontainers.image.ref.name": "1"}
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [described]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return str(described["digest"])


def push(registry: Registry, layout: Path, target: str, password: str | None = None) -> SimpleNamespace:
    done = subprocess.run(
        [
            "skopeo",
            "--insecure-policy",
            "copy",
            "--retry-times=0",
            "--dest-tls-verify=false",
            f"--dest-creds=AWS:{password or registry.password}",
            f"oci:{layout}:1",
            f"docker://{registry.address}/{target}",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return SimpleNamespace(ok=done.returncode == 0, text=done.stdout + done.stderr)


async def test_pushed_image_is_found_by_tag_and_digest_is_pinned(registry: Registry, tmp_path: Path) -> None:
    repository = repository_path(PROJECT, "team/app")
    digests = {}
    for tag in ("v1", "v2"):
        digests[tag] = write_layout(tmp_path / tag, tag.encode())
        pushed = push(registry, tmp_path / tag, f"{repository}:{tag}")
        assert pushed.ok, pushed.text
    async with RegistryClient(registry.url, registry.tokens) as client:
        assert await client.healthy()
        assert {tag: await client.resolve(repository, tag) for tag in digests} == digests
        assert await client.resolve(repository, "v3") is None
        assert await client.resolve(repository_path(PROJECT, "none"), "v1") is None
        assert await client.tags(repository) == ["v1", "v2"]
        assert await client.tags(repository_path(PROJECT, "none")) == []


async def test_many_tags_are_read_in_pages(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openhtc.registry.client._PAGE", 3)
    repository = repository_path(PROJECT, "many")
    token = registry.tokens.sign("t", [Access(repository, ("pull", "push"))], 60, datetime.now(UTC))
    base = f"{registry.url}/v2/{repository}"
    with httpx.Client(headers={"Authorization": f"Bearer {token}"}, trust_env=False) as http:
        config = b"{}"
        digest = f"sha256:{hashlib.sha256(config).hexdigest()}"
        upload = http.post(f"{base}/blobs/uploads/").headers["Location"]
        http.put(f"{upload}&digest={digest}", content=config).raise_for_status()
        kind = "application/vnd.oci.image.manifest.v1+json"
        described = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": 2}
        manifest = {"schemaVersion": 2, "mediaType": kind, "config": described, "layers": []}
        for number in range(10):
            http.put(
                f"{base}/manifests/t{number}",
                content=json.dumps(manifest).encode(),
                headers={"Content-Type": kind},
            ).raise_for_status()
    async with RegistryClient(registry.url, registry.tokens) as client:
        assert await client.tags(repository) == [f"t{number}" for number in range(10)]


@pytest.mark.parametrize("target", [f"aws.com/{OTHER}/app:v1", f"aws.com/{PROJECT}x/app:v1", "app:v1"])
def test_push_outside_the_project_is_refused(registry: Registry, tmp_path: Path, target: str) -> None:
    write_layout(tmp_path / "l", b"x")
    assert not push(registry, tmp_path / "l", target).ok


def test_push_with_a_wrong_password_is_refused(registry: Registry, tmp_path: Path) -> None:
    write_layout(tmp_path / "l", b"x")
    assert not push(registry, tmp_path / "l", f"{repository_path(PROJECT, 'app')}:v1", "wrong").ok


def test_a_token_without_access_opens_neither_catalog_nor_images(registry: Registry) -> None:
    token = registry.tokens.sign("t", [], 60, datetime.now(UTC))
    headers = {"Authorization": f"Bearer {token}"}
    assert httpx.get(f"{registry.url}/v2/", headers=headers, trust_env=False).status_code == 200
    for path in ("_catalog", f"{repository_path(PROJECT, 'team/app')}/tags/list"):
        assert httpx.get(f"{registry.url}/v2/{path}", headers=headers, trust_env=False).status_code == 401


async def test_tokens_of_another_key_are_unavailable(registry: Registry, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    stranger = rsa.generate_private_key(65537, 2048)
    key = tmp_path / "key.pem"
    key.write_bytes(stranger.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    tokens = RegistryTokens(key, "htc-issuer", "htc-registry")
    async with RegistryClient(registry.url, tokens) as client:
        assert not await client.healthy()
        with pytest.raises(Unavailable, match="401"):
            await client.resolve(repository_path(PROJECT, "app"), "v1")


async def test_a_registry_that_is_away_is_unavailable(registry: Registry) -> None:
    async with RegistryClient("http://127.0.0.1:9", registry.tokens) as client:
        assert not await client.healthy()
        with pytest.raises(Unavailable, match="does not answer"):
            await client.tags("aws.com/p/app")
