"""Real programs that an agent talks to: an S3 with temporary keys, a registry with an image."""

import json
import shutil
import subprocess
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

from ...seaweed import BUCKET, REGION, ROLE, Seaweed


def wait_until(what: Callable[[], object], timeout: float = 30.0, state: Callable[[], object] = str) -> None:
    """Return when ``what()`` is true; fail after ``timeout`` seconds with the last ``state()``."""
    until = time.monotonic() + timeout
    while not what():
        if time.monotonic() > until:
            raise AssertionError(f"not so within {timeout} s; last state: {state()}")
        time.sleep(0.02)


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


class LogBucket:
    """A real S3 with one bucket, and temporary keys for a prefix of it."""

    def __init__(self, directory: Path) -> None:
        self._seaweed = Seaweed(directory)
        self.endpoint = self._seaweed.endpoint
        self.store = S3Store(
            BUCKET,
            endpoint=self.endpoint,
            region=REGION,
            access_key_id=self._seaweed.access_key,
            secret_access_key=self._seaweed.secret_key,
            client_options={"allow_http": True, "timeout": "5s"},
            retry_config={"max_retries": 0},
        )
        self.start()

    def start(self) -> None:
        self._seaweed.start()
        wait_until(self._usable, 60, lambda: self._seaweed.log.read_text()[-3000:])

    def kill(self) -> None:
        self._seaweed.kill()

    def _client(self, service: str) -> object:
        return botocore.session.Session().create_client(
            service,
            region_name=REGION,
            endpoint_url=self.endpoint,
            aws_access_key_id=self._seaweed.access_key,
            aws_secret_access_key=self._seaweed.secret_key,
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
            RoleArn=ROLE,
            RoleSessionName="agent",
            DurationSeconds=900,
            Policy=json.dumps({"Version": "2012-10-17", "Statement": [allowed]}),
        )["Credentials"]
        return ObjectStoreAccess(
            endpoint=self.endpoint,
            region=REGION,
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
