"""What a server is told at its start; the same keys on one machine and in production."""

from enum import StrEnum
from pathlib import Path

import msgspec

from openhtc.domain.regions import Region


class Serves(StrEnum):
    """Whom a server answers. One for agents alone keeps what jobs need from waiting for users' requests."""

    ALL = "all"
    USERS = "users"
    AGENTS = "agents"


class StorageSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where one region's files are; what is left out is as in the ``s3_`` and ``sts_`` settings."""

    endpoint: str | None = None
    public_endpoint: str | None = None
    region: str | None = None
    bucket: str | None = None
    access_key: str | None = None
    secret_key: str | None = None
    sts_endpoint: str | None = None
    sts_role_arn: str | None = None


class ServerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All keys of ``openhtc server --settings FILE``, each also readable from ``OPENHTC_<KEY>``."""

    listen_host: str = "127.0.0.1"
    listen_port: int = 8080
    serves: Serves = Serves.ALL
    """``users`` and ``agents`` need each other; the periodic duties are with those that serve agents."""
    workers: int = 1
    """Worker processes; each holds its own database pool."""
    public_url: str
    """Origin by which jobs and registry clients reach this server, without a path."""
    trusted_proxies: list[str] = []
    """Addresses whose X-Forwarded-Proto and X-Forwarded-Host are believed."""

    database_url: str
    database_connections: int = 16

    s3_endpoint: str
    s3_public_endpoint: str | None = None
    """What presigned URLs and jobs use when it differs from s3_endpoint."""
    s3_region: str = "us-east-1"
    s3_bucket: str
    s3_access_key: str
    s3_secret_key: str
    sts_endpoint: str | None = None
    """Where AssumeRole is asked; the S3 endpoint when absent."""
    sts_role_arn: str
    storages: dict[Region, StorageSettings] = {}
    """Buckets or stores of their own for regions; the others share the one above, which holds all logs."""

    registry_url: str
    """Where this server reaches the OCI registry."""
    registry_host: str
    """host[:port] of the registry as users and agents see it."""
    registry_public_url: str | None = None
    """Where agents pull from; http://<registry_host> for loopback, https:// otherwise, when absent."""
    registry_service: str = "openhtc-registry"
    registry_issuer: str = "openhtc"
    registry_key_file: Path

    secret_key: str
    """Encrypts the signing keys in the database and authenticates refresh tokens of jobs."""
    default_regions: list[Region] = msgspec.field(
        default_factory=lambda: [Region.AWS_US_WEST_2, Region.GCP_US_CENTRAL_1]
    )
    """What the first start maps to this machine, and what workspaces get that are made without naming regions."""
    lease_seconds: int = 30
    preempt_after_seconds: float = 5.0
    """How long ON_DEMAND_PRIORITY jobs wait for room before ON_DEMAND_ECONOMY jobs make it; negative: for ever."""
    strict_architecture: bool = False
    """Whether a job that asks for an architecture waits for such a node even when its region has none."""
    log_level: str = "info"
    log_json: bool = True

    @property
    def pull_url(self) -> str:
        if self.registry_public_url is not None:
            return self.registry_public_url
        loopback = self.registry_host.startswith(("127.", "localhost"))
        return f"{'http' if loopback else 'https'}://{self.registry_host}"
