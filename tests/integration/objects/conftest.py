"""A SeaweedFS of its own for the object store's tests, with a token service, on free ports."""

import base64
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from openhtc.domain.errors import Unavailable
from openhtc.objects import ObjectStore, ensure_bucket

ROLE = "arn:aws:iam::role/HtcRole"
ACTIONS = ["Admin", "Read", "Write", "List", "Tagging"]


@dataclass(frozen=True)
class Seaweed:
    endpoint: str
    access_key: str
    secret_key: str


def free_ports(count: int) -> list[int]:
    """Ports below the ephemeral ones, whose gRPC twin 10,000 above is free too."""
    found: list[int] = []
    while len(found) < count:
        port = 10_000 + secrets.randbelow(12_000)
        if port not in found and all(_free(candidate) for candidate in (port, port + 10_000)):
            found.append(port)
    return found


def _free(port: int) -> bool:
    with socket.socket() as probe:
        with suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return True
        return False


def _write_config(folder: Path, access_key: str, secret_key: str) -> None:
    keys = [{"accessKey": access_key, "secretKey": secret_key}]
    identities = [{"name": "htc", "credentials": keys, "actions": ACTIONS}]
    (folder / "s3.json").write_text(json.dumps({"identities": identities}))
    trust = {
        "Effect": "Allow",
        "Action": ["sts:AssumeRole"],
        "Principal": {"AWS": "arn:aws:iam::000000000000:user/htc"},
    }
    everything = {"Effect": "Allow", "Action": ["s3:*"], "Resource": ["*"]}
    iam = {
        "sts": {
            "tokenDuration": "1h",
            "maxSessionLength": "12h",
            "issuer": "htc-sts",
            "signingKey": base64.b64encode(os.urandom(32)).decode(),
        },
        "policy": {"defaultEffect": "Deny", "storeType": "memory"},
        "policies": [
            {"name": "HtcAll", "document": {"Version": "2012-10-17", "Statement": [everything]}},
        ],
        "roles": [
            {
                "roleName": "HtcRole",
                "roleArn": ROLE,
                "attachedPolicies": ["HtcAll"],
                "trustPolicy": {"Version": "2012-10-17", "Statement": [trust]},
            }
        ],
    }
    (folder / "iam.json").write_text(json.dumps(iam))


def _command(folder: Path, ports: list[int]) -> list[str]:
    master, volume, filer, s3 = ports
    (folder / "data").mkdir()
    return [
        str(Path(sys.executable).parent / "weed"),
        "-logtostderr=true",
        "server",
        f"-dir={folder / 'data'}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-master.port={master}",
        f"-volume.port={volume}",
        f"-filer.port={filer}",
        "-s3",
        f"-s3.port={s3}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        f"-s3.config={folder / 's3.json'}",
        f"-s3.iam.config={folder / 'iam.json'}",
        "-s3.iam.readOnly=false",
        "-master.volumeSizeLimitMB=64",
        "-volume.max=50",
        "-volume.preStopSeconds=0",
        "-master.electionTimeout=1s",
    ]


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    folder = tmp_path_factory.mktemp("seaweed")
    access_key, secret_key = "admin", secrets.token_hex(16)
    _write_config(folder, access_key, secret_key)
    ports = free_ports(4)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(_command(folder, ports), stdout=log, stderr=log, cwd="/")
    try:
        yield Seaweed(f"http://127.0.0.1:{ports[3]}", access_key, secret_key)
    finally:
        process.kill()
        process.wait(10)


@pytest.fixture(scope="session")
async def store(seaweed: Seaweed) -> AsyncIterator[ObjectStore]:
    found = ObjectStore(
        endpoint=seaweed.endpoint,
        region="us-east-1",
        bucket="htc",
        access_key=seaweed.access_key,
        secret_key=seaweed.secret_key,
        sts_endpoint=seaweed.endpoint,
        sts_role_arn=ROLE,
    )
    deadline = time.monotonic() + 30
    last = "not asked yet"
    while time.monotonic() < deadline:
        try:
            await ensure_bucket(
                endpoint=seaweed.endpoint,
                region="us-east-1",
                bucket="htc",
                access_key=seaweed.access_key,
                secret_key=seaweed.secret_key,
            )
            if await found.healthy():
                break
            last = "bucket exists, sentinel not readable"
        except Unavailable as error:
            last = error.message
    else:
        pytest.fail(f"SeaweedFS is not usable after 30 s: {last}")
    yield found
