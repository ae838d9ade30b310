"""SeaweedFS as a child: one process that is an S3 with temporary credentials, on loopback."""

import base64
import contextlib
import json
import signal
from pathlib import Path

from openhtc.domain.regions import Region
from openhtc.embedded.installation import Installation
from openhtc.embedded.part import Command, Part, StopStep, child_environment, die_with_parent
from openhtc.embedded.ports import GRPC_OFFSET, LOOPBACK
from openhtc.embedded.private_files import private_directory, write_private
from openhtc.embedded.programs import find_weed
from openhtc.embedded.s3_requests import SignedRequests

BUCKET = "openhtc"
REGION_BUCKETS = {Region.GCP_US_CENTRAL_1: "openhtc-gcp-us-central-1"}
"""Regions whose files have a bucket of their own; the others are in BUCKET, as all logs are."""

REGION = "us-east-1"
ADMIN = "openhtc"
ROLE_ARN = "arn:aws:iam::role/openhtc"
ADMIN_ARN = f"arn:aws:iam::000000000000:user/{ADMIN}"
SENTINEL = ".openhtc/ready"
"""Read to see whether objects can be read: after a crash S3 answers before its volumes are found again."""


class S3Part(Part):
    """SeaweedFS with its files in ``directory``."""

    name = "s3"
    start_seconds = 90.0
    # SeaweedFS takes 16 seconds to leave and loses nothing when it is not waited for.
    stop_steps = (StopStep(signal.SIGTERM, 2.0),)

    def __init__(self, directory: Path, installation: Installation, *, log: Path) -> None:
        ports, secrets = installation.ports, installation.secrets
        self.directory = directory
        self.log = log
        self.address = f"http://{LOOPBACK}:{ports.s3}"
        listening = (ports.s3, ports.s3_master, ports.s3_volume, ports.s3_filer)
        self.ports = (*listening, *(port + GRPC_OFFSET for port in listening))
        self._installation = installation
        self._requests = SignedRequests(self.address, secrets.s3_access_key, secrets.s3_secret_key, REGION)

    def prepare(self) -> None:
        private_directory(self.directory)
        private_directory(self.directory / "data")
        secrets = self._installation.secrets
        write_private(
            self.directory / "s3.json", _json(_identities(secrets.s3_access_key, secrets.s3_secret_key))
        )
        write_private(self.directory / "iam.json", _json(_roles(secrets.sts_signing_key)))
        write_private(self.directory / "security.toml", _security(secrets.s3_internal_key).encode())

    def command(self) -> Command:
        ports = self._installation.ports
        args = (
            *die_with_parent(),
            *(str(find_weed()), "-logtostderr=true", "server", f"-dir={self.directory / 'data'}"),
            *(f"-ip={LOOPBACK}", f"-ip.bind={LOOPBACK}", f"-master.port={ports.s3_master}"),
            *(f"-volume.port={ports.s3_volume}", f"-filer.port={ports.s3_filer}"),
            *("-s3", f"-s3.port={ports.s3}", "-s3.port.iceberg=0", "-s3.port.lance=0"),
            *(f"-s3.config={self.directory / 's3.json'}", f"-s3.iam.config={self.directory / 'iam.json'}"),
            *("-master.volumeSizeLimitMB=1024", "-volume.max=1000", "-volume.preStopSeconds=0"),
            *("-master.electionTimeout=1s", "-master.telemetry=false"),
            # Relative to the working directory: a socket's path has 107 characters at most.
            *("-filer.localSocket=filer.sock", "-s3.localSocket=s3.sock"),
        )
        # weed looks for security.toml in its working directory, then in HOME.
        return Command(args, child_environment(HOME=str(self.directory)), self.directory)

    def tidy(self) -> None:
        """Sockets that SeaweedFS makes at fixed places and leaves when it is killed."""
        for port in self.ports:
            for socket in Path("/tmp").glob(f"seaweedfs-*-grpc-{port}.sock"):  # noqa: S108 (not our choice)
                with contextlib.suppress(PermissionError):
                    socket.unlink(missing_ok=True)

    async def check(self) -> str | None:
        status, said = await self._requests.send("GET", f"{BUCKET}/{SENTINEL}")
        return None if status == 200 else f"reading a known object answers {status or said}"

    async def ready(self) -> str | None:
        """Healthy, with the buckets and the sentinel object made where they are missing."""
        for bucket in (BUCKET, *REGION_BUCKETS.values()):
            status, said = await self._requests.send("PUT", bucket)
            if status not in (200, 409):  # 409: it is there
                return f"making the bucket {bucket} answers {status or said}"
        if await self.check() is not None:
            await self._requests.send("PUT", f"{BUCKET}/{SENTINEL}", b"openhtc\n")
        return await self.check()


def _json(document: object) -> bytes:
    return json.dumps(document, indent=1).encode()


def _identities(access_key: str, secret_key: str) -> object:
    credentials = [{"accessKey": access_key, "secretKey": secret_key}]
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    return {"identities": [{"name": ADMIN, "credentials": credentials, "actions": actions}]}


def _roles(signing_key: str) -> object:
    """One role that the admin alone may take.

    With any other principal a temporary credential could take the role again, without its session policy, and
    would then reach everything.
    """
    everything = {"Effect": "Allow", "Action": ["s3:*"], "Resource": ["*"]}
    only_admin = {"Effect": "Allow", "Action": ["sts:AssumeRole"], "Principal": {"AWS": ADMIN_ARN}}
    role = {
        "roleName": "openhtc",
        "roleArn": ROLE_ARN,
        "attachedPolicies": ["Everything"],
        "trustPolicy": {"Version": "2012-10-17", "Statement": [only_admin]},
    }
    times = {"tokenDuration": "1h", "maxSessionLength": "12h"}
    return {
        "sts": {**times, "issuer": "openhtc-sts", "signingKey": signing_key},
        "policy": {"defaultEffect": "Deny", "storeType": "memory"},
        "policies": [
            {"name": "Everything", "document": {"Version": "2012-10-17", "Statement": [everything]}}
        ],
        "roles": [role],
    }


def _security(key: str) -> str:
    """Keys for SeaweedFS's own inner requests, so that other users of this machine cannot make them."""
    encoded = base64.b64encode(key.encode()).decode()
    names = ("jwt.signing", "jwt.signing.read", "jwt.filer_signing", "jwt.filer_signing.read")
    return "".join(f'[{name}]\nkey = "{encoded}"\n' for name in names)
