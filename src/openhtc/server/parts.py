"""Puts the parts of a server together."""

from dataclasses import dataclass

from openhtc.api.app import API_PREFIX
from openhtc.api.services import Services
from openhtc.objects.store import ObjectStore
from openhtc.registry.client import RegistryClient
from openhtc.registry.tokens import RegistryTokens
from openhtc.server.keeper import Keeper
from openhtc.services.authentication import Authentication
from openhtc.services.clock import utc_now
from openhtc.services.duties import LeaseExpiry
from openhtc.services.images import Images, RegistryAccess
from openhtc.services.jobs import Jobs
from openhtc.services.leasing import Leasing
from openhtc.services.logs import Logs
from openhtc.services.projects import Projects, Tasks
from openhtc.services.reports import Reports
from openhtc.services.signing import SigningKeys
from openhtc.services.storage_access import KeyCache, StorageAccess
from openhtc.services.submission import Submission
from openhtc.services.tokens import Tokens
from openhtc.services.work import Addresses, WorkOrders
from openhtc.settings.server import ServerSettings
from openhtc.storage.database import Database
from openhtc.storage.wake import WorkSignal


@dataclass(frozen=True, slots=True)
class Parts:
    """What a server starts before it serves and stops afterwards."""

    services: Services
    signal: WorkSignal
    keeper: Keeper
    registry: RegistryClient


async def assemble(settings: ServerSettings, database: Database) -> Parts:
    signing = SigningKeys(database, settings.secret_key)
    await signing.current()
    tokens = Tokens(signing, settings.public_url, settings.secret_key)
    objects = object_store(settings)
    registry_tokens = RegistryTokens(
        settings.registry_key_file, settings.registry_issuer, settings.registry_service
    )
    registry = RegistryClient(settings.registry_url, registry_tokens)
    signal = WorkSignal(settings.database_url)
    services = _services(settings, database, tokens, objects, registry, registry_tokens, signal)
    keeper = Keeper(settings.database_url, [LeaseExpiry(database, utc_now)])
    return Parts(services, signal, keeper, registry)


def object_store(settings: ServerSettings) -> ObjectStore:
    return ObjectStore(
        endpoint=settings.s3_endpoint,
        region=settings.s3_region,
        bucket=settings.s3_bucket,
        access_key=settings.s3_access_key,
        secret_key=settings.s3_secret_key,
        sts_endpoint=settings.sts_endpoint or settings.s3_endpoint,
        sts_role_arn=settings.sts_role_arn,
        public_endpoint=settings.s3_public_endpoint,
    )


def _services(
    settings: ServerSettings,
    database: Database,
    tokens: Tokens,
    objects: ObjectStore,
    registry: RegistryClient,
    registry_tokens: RegistryTokens,
    signal: WorkSignal,
) -> Services:
    clock = utc_now
    images = Images(database, registry, clock, settings.registry_host)
    registry_access = RegistryAccess(database, tokens, registry_tokens, clock)
    cache = KeyCache(objects, clock)
    addresses = Addresses(
        api_url=settings.public_url.rstrip("/") + API_PREFIX,
        s3_endpoint=settings.jobs_s3_endpoint,
        s3_region=settings.s3_region,
        bucket=settings.s3_bucket,
        registry_pull_url=settings.pull_url,
    )
    orders = WorkOrders(database, tokens, registry_access, cache, addresses)
    leasing = Leasing(
        database,
        tokens,
        objects,
        orders,
        signal,
        addresses,
        clock,
        settings.lease_seconds,
        strict_architecture=settings.strict_architecture,
    )
    return Services(
        database=database,
        authentication=Authentication(database, tokens, clock),
        tokens=tokens,
        projects=Projects(database, clock),
        tasks=Tasks(database, clock),
        images=images,
        registry=registry_access,
        submission=Submission(database, images, clock),
        jobs=Jobs(database, clock),
        logs=Logs(database, objects),
        storage=StorageAccess(database, objects, cache, clock),
        leasing=leasing,
        reports=Reports(database, clock, settings.lease_seconds),
        bucket=settings.s3_bucket,
        s3_endpoint=settings.jobs_s3_endpoint,
        trusted_proxies=frozenset(settings.trusted_proxies),
    )
