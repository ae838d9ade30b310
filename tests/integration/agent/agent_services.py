"""Real programs that an agent talks to: an S3 with temporary keys, a registry with an image."""

import base64
import json
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import botocore.session
import httpx
import obstore
from obstore.store import S3Store

from openhtc.domain.logs import LogLine, unpack_lines
from openhtc.domain.work import (
    LogChunk,
    ObjectStoreAccess,
)

BUCKET = "htc"


def wait_until(what: Callable[[], object], timeout: float = 30.0, state: Callable[[], object] = str) -> None:
    """Return when ``what()`` is true; fail after ``timeout`` seconds with the last ``state()``."""
    until = time.monotonic() + timeout
    while not what():
        if time.monotonic() > until:
            raise AssertionError(f"not so within {timeout} s; last state: {state()}")
        time.sleep(0.02)


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def serving(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code < 500
    except httpx.HTTPError:
        return False


def run_program(args: list[str], log: Path, env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(args, stdout=output, stderr=output, env=env)


def end_process(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def push_busybox(directory: Path, name: str) -> str:
    rootfs = directory / "rootfs"
    for folder in ("bin", "tmp", "etc"):
        (rootfs / folder).mkdir(parents=True)
    shutil.copy("/bin/busybox", rootfs / "bin/busybox")
    for applet in ("sh", "echo", "sleep", "seq", "cat", "true", "env", "dd", "yes", "head"):
        (rootfs / "bin" / applet).symlink_to("busybox")
    (rootfs / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    layout = f"{directory}/layout"
    where = (f"oci:{layout}:1", f"docker://{name}")
    for args in (
        ["umoci", "init", "--layout", layout],
        ["umoci", "new", "--image", f"{layout}:1"],
        ["umoci", "insert", "--image", f"{layout}:1", str(rootfs), "/"],
        ["umoci", "config", "--image", f"{layout}:1", "--config.cmd", "true", "--config.env", "FROM=image"],
        ["skopeo", "copy", "-q", "--dest-tls-verify=false", "--digestfile", f"{directory}/digest", *where],
    ):
        subprocess.run(args, check=True, capture_output=True)
    return (directory / "digest").read_text().strip()


def _weed_files(directory: Path) -> None:
    admin = {"accessKey": "admin", "secretKey": "adminsecret"}
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    (directory / "s3.json").write_text(
        json.dumps({"identities": [{"name": "htc", "credentials": [admin], "actions": actions}]})
    )
    everything = {"Effect": "Allow", "Action": ["s3:*"], "Resource": ["*"]}
    trust = {
        "Effect": "Allow",
        "Action": ["sts:AssumeRole"],
        "Principal": {"AWS": "arn:aws:iam::000000000000:user/htc"},
    }
    role = {
        "roleName": "HtcRole",
        "roleArn": "arn:aws:iam::role/HtcRole",
        "attachedPolicies": ["HtcAll"],
        "trustPolicy": {"Version": "2012-10-17", "Statement": [trust]},
    }
    sts = {"tokenDuration": "1h", "maxSessionLength": "12h", "issuer": "htc-sts"}
    sts["signingKey"] = base64.b64encode(secrets.token_bytes(32)).decode()
    policy = {"name": "HtcAll", "document": {"Version": "2012-10-17", "Statement": [everything]}}
    iam = {
        "sts": sts,
        "policy": {"defaultEffect": "Deny", "storeType": "memory"},
        "policies": [policy],
        "roles": [role],
    }
    (directory / "iam.json").write_text(json.dumps(iam))


class LogBucket:
    """A real S3 with one bucket, and temporary keys for a prefix of it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        _weed_files(directory)
        master, volume, filer, self._port = free_ports(4)
        self.endpoint = f"http://127.0.0.1:{self._port}"
        options = {
            "-dir": directory / "data",
            "-ip": "127.0.0.1",
            "-ip.bind": "127.0.0.1",
            "-master.port": f"{master}",
            "-master.port.grpc": f"{free_ports(1)[0]}",
            "-volume.port": f"{volume}",
            "-volume.port.grpc": f"{free_ports(1)[0]}",
            "-filer.port": f"{filer}",
            "-filer.port.grpc": f"{free_ports(1)[0]}",
            "-s3.port": f"{self._port}",
            "-s3.port.grpc": f"{free_ports(1)[0]}",
            "-s3.port.iceberg": "0",
            "-s3.port.lance": "0",
            "-s3.config": directory / "s3.json",
            "-s3.iam.config": directory / "iam.json",
            "-master.volumeSizeLimitMB": "64",
            "-volume.max": "20",
            "-volume.preStopSeconds": "0",
            "-master.electionTimeout": "1s",
        }
        (directory / "data").mkdir()
        self._args = [str(Path(sys.executable).parent / "weed"), "-logtostderr=true", "server", "-s3"]
        self._args += [f"{name}={value}" for name, value in options.items()]
        self.store = S3Store(
            BUCKET,
            endpoint=self.endpoint,
            region="us-east-1",
            access_key_id="admin",
            secret_access_key="adminsecret",
            client_options={"allow_http": True, "timeout": "5s"},
            retry_config={"max_retries": 0},
        )
        self.start()

    def start(self) -> None:
        self._process = run_program(self._args, self._directory / "log")
        wait_until(self._usable, 60, lambda: (self._directory / "log").read_text()[-3000:])

    def kill(self) -> None:
        end_process(self._process)

    def _client(self, service: str) -> object:
        return botocore.session.Session().create_client(
            service,
            region_name="us-east-1",
            endpoint_url=self.endpoint,
            aws_access_key_id="admin",
            aws_secret_access_key="adminsecret",
        )

    def _usable(self) -> bool:
        if not serving(f"{self.endpoint}/status"):
            return False
        try:
            if BUCKET not in [bucket["Name"] for bucket in self._client("s3").list_buckets()["Buckets"]]:
                self._client("s3").create_bucket(Bucket=BUCKET)
            obstore.put(self.store, "sentinel", b"x")
            return bytes(obstore.get(self.store, "sentinel").bytes()) == b"x"
        except Exception:  # noqa: BLE001 - whatever it is, it is not usable yet
            return False

    def access(self, prefix: str) -> ObjectStoreAccess:
        allowed = {
            "Effect": "Allow",
            "Action": ["s3:PutObject"],
            "Resource": [f"arn:aws:s3:::{BUCKET}/{prefix}*"],
        }
        keys = self._client("sts").assume_role(
            RoleArn="arn:aws:iam::role/HtcRole",
            RoleSessionName="agent",
            DurationSeconds=900,
            Policy=json.dumps({"Version": "2012-10-17", "Statement": [allowed]}),
        )["Credentials"]
        return ObjectStoreAccess(
            endpoint=self.endpoint,
            region="us-east-1",
            bucket=BUCKET,
            prefix=prefix,
            access_key_id=keys["AccessKeyId"],
            secret_access_key=keys["SecretAccessKey"],
            session_token=keys["SessionToken"],
            expires_at=int((time.time() + 900) * 1e6),
        )

    def read(self, chunk: LogChunk) -> list[LogLine]:
        data = obstore.get_range(self.store, chunk.key, start=chunk.offset, length=chunk.length)
        return unpack_lines(bytes(data))
