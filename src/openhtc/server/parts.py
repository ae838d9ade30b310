"""Puts the parts of a server together."""

from dataclasses import dataclass

from openhtc.api.app import API_PREFIX
from openhtc.api.services import Services
from openhtc.objects.regions import RegionStores
from openhtc.objects.store import ObjectStore
from openhtc.registry.client import RegistryClient
from openhtc.registry.tokens import RegistryTokens
from openhtc.server.keeper import Duty, Keeper
from openhtc.services.admission import Admission
from openhtc.services.authentication import Authentication
from openhtc.services.cancelling import Cancelling
from openhtc.services.cleaning import (
    AgentRemoval,
    JobRemoval,
    LogRemoval,
    StorageRelease,
    TaskArchival,
    TaskDeletion,
)
from openhtc.services.clusters import Clusters
from openhtc.services.dimensions import Dimensions
from openhtc.services.duties import LeaseExpiry, RestEnd
from openhtc.services.images import Images, RegistryAccess
from openhtc.services.jobs import Jobs
from openhtc.services.leasing import Leasing
from openhtc.services.limits import Limits
from openhtc.services.logs import Logs
from openhtc.services.metrics import Metrics
from openhtc.services.oauth2 import OAuth2
from openhtc.services.preemption import Preemption
from openhtc.services.projects import Projects, Tasks
from openhtc.services.regions import Regions
from openhtc.services.reports import Reports
from openhtc.services.retention import Retention
from openhtc.services.signing import SigningKeys
from openhtc.services.storage_access import KeyCache, StorageAccess
from openhtc.services.submission import Submission
from openhtc.services.task_life import TaskLife
from openhtc.services.tokens import Tokens
from openhtc.services.work import Addresses, WorkOrders
from openhtc.settings.server import ServerSettings, StorageSettings
from openhtc.storage.clock import LOOK_SECONDS
from openhtc.storage.database import Database
from openhtc.storage.wake import WorkSignal


@dataclass(frozen=True, slots=True)
class Parts:
    """What a server starts before it serves and stops afterwards."""

    services: Services
    signal: WorkSignal
    keeper: Keeper
    registry: RegistryClient


@dataclass(frozen=True, slots=True)
class Outside:
    """What services talk to."""

    database: Database
    tokens: Tokens
    stores: RegionStores
    registry: RegistryClient
    registry_tokens: RegistryTokens
    signal: WorkSignal


async def assemble(settings: ServerSettings, database: Database) -> Parts:
    signing = SigningKeys(database, settings.secret_key)
    await signing.current()
    registry_tokens = RegistryTokens(
        settings.registry_key_file, settings.registry_issuer, settings.registry_service
    )
    outside = Outside(
        database=database,
        tokens=Tokens(signing, settings.public_url, settings.secret_key),
        stores=region_stores(settings),
        registry=RegistryClient(settings.registry_url, registry_tokens, clock=database.now),
        registry_tokens=registry_tokens,
        signal=WorkSignal(settings.database_url),
    )
    admission, cancelling = Admission(database, database.now), Cancelling(database, database.now)
    services = _services(settings, outside, admission, cancelling)
    cleaning = _cleaning(database, outside.stores)
    preemption = Preemption(
        database,
        database.now,
        settings.preempt_after_seconds,
        strict_architecture=settings.strict_architecture,
    )
    expiry = LeaseExpiry(database, database.now, settings.lease_seconds)
    duties: list[Duty] = [expiry, admission, cancelling, preemption, *cleaning]
    # Agents that could not be heard while no server or no database was there are given the time to be heard again.
    # One that begins may not know of a step of the database's clock that others do.
    patience = {expiry.name: settings.lease_seconds + LOOK_SECONDS}
    rests = RestEnd(database, database.now)
    keeper = Keeper(settings.database_url, duties, {admission.name: outside.signal.room}, patience, [rests])
    return Parts(services, outside.signal, keeper, outside.registry)


def _cleaning(database: Database, stores: RegionStores) -> list[Duty]:
    return [
        TaskArchival(database, database.now),
        TaskDeletion(database, database.now),
        StorageRelease(database, stores.all, database.now),
        JobRemoval(database, database.now),
        LogRemoval(database, stores.default),
        AgentRemoval(database, stores.default, database.now),
    ]


def region_stores(settings: ServerSettings) -> RegionStores:
    own = {region.value: _store(settings, storage) for region, storage in settings.storages.items()}
    return RegionStores(_store(settings, StorageSettings()), own)


def _store(settings: ServerSettings, own: StorageSettings) -> ObjectStore:
    """What a region's storage leaves open is as for all; an endpoint of its own brings its own public one and STS."""
    endpoint = own.endpoint or settings.s3_endpoint
    shared = own.endpoint is None
    return ObjectStore(
        endpoint=endpoint,
        region=own.region or settings.s3_region,
        bucket=own.bucket or settings.s3_bucket,
        access_key=own.access_key or settings.s3_access_key,
        secret_key=own.secret_key or settings.s3_secret_key,
        sts_endpoint=own.sts_endpoint or (settings.sts_endpoint if shared else None) or endpoint,
        sts_role_arn=own.sts_role_arn or settings.sts_role_arn,
        public_endpoint=own.public_endpoint or (settings.s3_public_endpoint if shared else None),
    )


def _leasing(settings: ServerSettings, outside: Outside, registry: RegistryAccess, keys: KeyCache) -> Leasing:
    addresses = Addresses(
        api_url=settings.public_url.rstrip("/") + API_PREFIX, registry_pull_url=settings.pull_url
    )
    orders = WorkOrders(outside.database, outside.tokens, registry, outside.stores, keys, addresses)
    return Leasing(
        outside.database,
        outside.tokens,
        outside.stores.default,
        orders,
        outside.signal,
        outside.database.now,
        settings.lease_seconds,
        strict_architecture=settings.strict_architecture,
    )


def _services(
    settings: ServerSettings, outside: Outside, admission: Admission, cancelling: Cancelling
) -> Services:
    database, tokens, stores, clock = outside.database, outside.tokens, outside.stores, outside.database.now
    images = Images(database, outside.registry, clock, settings.registry_host)
    registry = RegistryAccess(database, tokens, outside.registry_tokens, clock)
    keys = KeyCache(clock)
    authentication = Authentication(database, tokens, clock)
    return Services(
        database=database,
        authentication=authentication,
        oauth2=OAuth2(authentication),
        tokens=tokens,
        projects=Projects(database, clock),
        tasks=Tasks(database, clock),
        task_life=TaskLife(database, cancelling, clock),
        retention=Retention(database, clock),
        images=images,
        registry=registry,
        submission=Submission(database, images, admission, clock),
        jobs=Jobs(database, cancelling, clock, strict_architecture=settings.strict_architecture),
        logs=Logs(database, stores.default),
        storage=StorageAccess(database, stores, keys, clock),
        regions=Regions(database, clock),
        dimensions=Dimensions(database, clock),
        clusters=Clusters(database, clock),
        metrics=Metrics(database, clock),
        limits=Limits(database, admission, clock),
        leasing=_leasing(settings, outside, registry, keys),
        reports=Reports(database, clock, settings.lease_seconds),
        trusted_proxies=frozenset(settings.trusted_proxies),
    )
