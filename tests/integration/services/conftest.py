"""The services on a database of their own, with a real S3 and a real registry shared by the session."""

import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

import httpx
import pytest

from openhtc.embedded.installation import Installation, choose_ports, new_secrets
from openhtc.embedded.ports import choose
from openhtc.embedded.registry import ISSUER, SERVICE, RegistryPart
from openhtc.embedded.s3 import BUCKET, REGION, REGION_BUCKETS, ROLE_ARN, S3Part
from openhtc.embedded.supervisor import running
from openhtc.objects import ObjectStore
from openhtc.objects.regions import RegionStores
from openhtc.registry import Access, RegistryClient, RegistryTokens, repository_path
from openhtc.services.admission import Admission
from openhtc.services.authentication import Authentication
from openhtc.services.clusters import Clusters
from openhtc.services.dimensions import Dimensions
from openhtc.services.images import Images, RegistryAccess
from openhtc.services.jobs import Jobs
from openhtc.services.leasing import Leasing
from openhtc.services.limits import Limits
from openhtc.services.logs import Logs
from openhtc.services.projects import Projects, Tasks
from openhtc.services.regions import Regions
from openhtc.services.signing import SigningKeys
from openhtc.services.storage_access import KeyCache, StorageAccess
from openhtc.services.submission import Submission
from openhtc.services.tokens import Tokens
from openhtc.services.work import Addresses, WorkOrders
from openhtc.storage.database import Database
from openhtc.storage.wake import WorkSignal

from ..world import LEASE_SECONDS, SECRET_KEY, Clock, World

ISSUER_URL = "http://127.0.0.1:8080"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"


@dataclass(frozen=True)
class Registry:
    url: str
    tokens: RegistryTokens

    async def push_empty_image(self, project: UUID, name: str, tag: str) -> str:
        """An image without layers under a project's repository; returns its digest."""
        repository = repository_path(str(project), name)
        token = self.tokens.sign("test", [Access(repository, ("pull", "push"))], 300, datetime.now(UTC))
        config = b"{}"
        async with httpx.AsyncClient(
            base_url=f"{self.url}/v2/{repository}/",
            headers={"Authorization": f"Bearer {token}"},
            trust_env=False,
        ) as client:
            upload = (await client.post("blobs/uploads/")).raise_for_status().headers["location"]
            digest = f"sha256:{hashlib.sha256(config).hexdigest()}"
            (await client.put(upload, params=_query(upload, digest), content=config)).raise_for_status()
            entry = {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": digest,
                "size": len(config),
            }
            manifest = {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": entry, "layers": []}
            answer = await client.put(
                f"manifests/{tag}",
                content=json.dumps(manifest),
                headers={"Content-Type": MANIFEST_TYPE},
            )
        return str(answer.raise_for_status().headers["docker-content-digest"])


def _query(location: str, digest: str) -> dict[str, str]:
    return {**httpx.URL(location).params, "digest": digest}


@dataclass(frozen=True)
class Far:
    """The real parts that services talk to beside the database."""

    objects: ObjectStore
    registry: Registry
    own: dict[str, ObjectStore] = field(default_factory=dict)
    """Stores of single regions."""

    @property
    def stores(self) -> RegionStores:
        return RegionStores(self.objects, self.own)


@pytest.fixture(scope="session")
async def far(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Far]:
    directory = tmp_path_factory.mktemp("far")
    installation = Installation(ports=choose_ports(choose(set())), secrets=new_secrets())
    s3 = S3Part(directory / "s3", installation, log=directory / "s3.log")
    registry = RegistryPart(directory / "registry", installation, log=directory / "registry.log")
    async with running(directory, s3, registry):
        tokens = RegistryTokens(registry.key_file, ISSUER, SERVICE)
        own = {
            region.value: store_at(s3.address, installation, bucket)
            for region, bucket in REGION_BUCKETS.items()
        }
        yield Far(store_at(s3.address, installation), Registry(registry.address, tokens), own)


def store_at(endpoint: str, installation: Installation, bucket: str = BUCKET) -> ObjectStore:
    return ObjectStore(
        endpoint=endpoint,
        region=REGION,
        bucket=bucket,
        access_key=installation.secrets.s3_access_key,
        secret_key=installation.secrets.s3_secret_key,
        sts_endpoint=endpoint,
        sts_role_arn=ROLE_ARN,
    )


@dataclass
class Core:
    """Everything below the HTTP handlers."""

    world: World
    far: Far
    signing: SigningKeys
    tokens: Tokens
    authentication: Authentication
    projects: Projects
    tasks: Tasks
    images: Images
    registry: RegistryAccess
    limits: Limits
    admission: Admission
    submission: Submission
    jobs: Jobs
    logs: Logs
    storage: StorageAccess
    regions: Regions
    dimensions: Dimensions
    clusters: Clusters
    leasing: Leasing
    signal: WorkSignal


ADDRESSES = Addresses(
    api_url=f"{ISSUER_URL}/api/v1",
    registry_pull_url="http://127.0.0.1:5000",
)


def assemble(world: World, far: Far, signal: WorkSignal, client: RegistryClient) -> Core:
    """As the server does it, with the test's clock."""
    database, clock = world.database, world.clock
    signing = SigningKeys(database, SECRET_KEY)
    tokens = Tokens(signing, ISSUER_URL, SECRET_KEY)
    cache = KeyCache(clock)
    admission = Admission(database, clock)
    images = Images(database, client, clock, "127.0.0.1:5000")
    access = RegistryAccess(database, tokens, far.registry.tokens, clock)
    orders = WorkOrders(database, tokens, access, far.stores, cache, ADDRESSES)
    return Core(
        world=world,
        far=far,
        signing=signing,
        tokens=tokens,
        authentication=Authentication(database, tokens, clock),
        projects=Projects(database, clock),
        tasks=Tasks(database, clock),
        images=images,
        registry=access,
        limits=Limits(database, admission, clock),
        admission=admission,
        submission=Submission(database, images, admission, clock),
        jobs=Jobs(database, world.cancelling, clock),
        logs=Logs(database, far.objects),
        storage=StorageAccess(database, far.stores, cache, clock),
        regions=Regions(database, clock),
        dimensions=Dimensions(database, clock),
        clusters=Clusters(database, clock),
        leasing=Leasing(database, tokens, far.objects, orders, signal, clock, LEASE_SECONDS),
        signal=signal,
    )


@pytest.fixture
def world(database: Database, clock: Clock) -> World:
    return World(database, clock)


@pytest.fixture
async def core(world: World, far: Far, database_url: str) -> AsyncIterator[Core]:
    signal = WorkSignal(database_url)
    async with RegistryClient(far.registry.url, far.registry.tokens) as client:
        yield assemble(world, far, signal, client)
        await signal.stop()
