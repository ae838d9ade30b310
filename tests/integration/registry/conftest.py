"""A docker-registry with token auth on a free port, and a small token endpoint beside it."""

import base64
import json
import os
import secrets
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from openhtc.embedded import ports
from openhtc.registry import RegistryTokens, granted, parse_scopes, project_prefix

PROJECT = "11111111-2222-4333-8444-555555555555"


@dataclass(frozen=True)
class Registry:
    url: str
    address: str
    tokens: RegistryTokens
    password: str
    """Opens the token endpoint for PROJECT, with user AWS."""


def write_key_and_certificate(folder: Path) -> tuple[Path, Path]:
    private = ec.generate_private_key(ec.SECP256R1())
    key, certificate = folder / "key.pem", folder / "cert.pem"
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "openhtc registry tokens")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(private, hashes.SHA256())
    )
    certificate.write_bytes(signed.public_bytes(Encoding.PEM))
    return key, certificate


def token_endpoint(tokens: RegistryTokens, password: str) -> ThreadingHTTPServer:
    expected = "Basic " + base64.b64encode(f"AWS:{password}".encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.headers.get("Authorization") != expected:
                self.send_response(401)
                self.end_headers()
                return
            asked = parse_qs(urlsplit(self.path).query).get("scope", [])
            access = granted(parse_scopes(asked), project_prefix(PROJECT))
            body = json.dumps({"token": tokens.sign("AWS", access, 300, datetime.now(UTC))}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            return

    return ThreadingHTTPServer(("127.0.0.1", 0), Handler)


def write_config(folder: Path, port: int, realm: str, certificate: Path) -> Path:
    config = {
        "version": "0.1",
        "log": {"accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}, "delete": {"enabled": True}},
        "http": {"addr": f"127.0.0.1:{port}", "secret": secrets.token_hex(16)},
        "auth": {
            "token": {
                "realm": realm,
                "service": "htc-registry",
                "issuer": "htc-issuer",
                "rootcertbundle": str(certificate),
            }
        },
    }
    path = folder / "config.yml"
    path.write_text(json.dumps(config))  # JSON is YAML
    return path


def wait_until_it_answers(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 20
    last = "nothing"
    while time.monotonic() < deadline and process.poll() is None:
        try:
            last = str(httpx.get(f"{url}/v2/", trust_env=False).status_code)
            if last == "401":
                return
        except httpx.HTTPError as error:
            last = repr(error)
    pytest.fail(f"docker-registry is not usable: {last}\n{log.read_text()[-2000:]}")


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    folder = tmp_path_factory.mktemp("registry")
    key, certificate = write_key_and_certificate(folder)
    tokens = RegistryTokens(key, "htc-issuer", "htc-registry")
    password = secrets.token_hex(16)
    endpoint = token_endpoint(tokens, password)
    threading.Thread(target=endpoint.serve_forever, daemon=True).start()
    port = ports.choose(set())
    config = write_config(folder, port, f"http://127.0.0.1:{endpoint.server_port}/token", certificate)
    log = folder / "log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            ["docker-registry", "serve", str(config)],
            stdout=sink,
            stderr=sink,
            cwd="/",
            env={"PATH": os.environ["PATH"]},
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_it_answers(url, process, log)
        yield Registry(url, f"127.0.0.1:{port}", tokens, password)
    finally:
        process.kill()
        process.wait(10)
        endpoint.shutdown()
        endpoint.server_close()
