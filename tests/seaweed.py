"""A SeaweedFS with a token service, for tests that need an S3 without the rest of the service."""

import base64
import json
import secrets
import subprocess
import sys
from pathlib import Path

from openhtc.embedded import ports

ROLE = "arn:aws:iam::role/HtcRole"
REGION = "us-east-1"
BUCKET = "htc"
_ACTIONS = ["Admin", "Read", "Write", "List", "Tagging"]


class Seaweed:
    """Started by ``start``; its files are in ``folder``, its ports outside the range for outgoing connections."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "log"
        self.access_key, self.secret_key = "admin", secrets.token_hex(16)
        taken: set[int] = set()
        self._ports = [ports.choose(taken, with_grpc=True) for _ in range(4)]
        self.endpoint = f"http://127.0.0.1:{self._ports[3]}"
        self._folder = folder
        (folder / "data").mkdir()
        (folder / "s3.json").write_text(json.dumps(self._identities()))
        (folder / "iam.json").write_text(json.dumps(_roles()))

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self._command(), stdout=log, stderr=log, cwd="/")

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(10)

    def _identities(self) -> dict[str, object]:
        keys = [{"accessKey": self.access_key, "secretKey": self.secret_key}]
        return {"identities": [{"name": "htc", "credentials": keys, "actions": _ACTIONS}]}

    def _command(self) -> list[str]:
        master, volume, filer, s3 = self._ports
        folder = self._folder
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


def _roles() -> dict[str, object]:
    trust = {
        "Effect": "Allow",
        "Action": ["sts:AssumeRole"],
        "Principal": {"AWS": "arn:aws:iam::000000000000:user/htc"},
    }
    everything = {"Effect": "Allow", "Action": ["s3:*"], "Resource": ["*"]}
    return {
        "sts": {
            "tokenDuration": "1h",
            "maxSessionLength": "12h",
            "issuer": "htc-sts",
            "signingKey": base64.b64encode(secrets.token_bytes(32)).decode(),
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
