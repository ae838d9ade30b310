"""Turns leased jobs into what an agent needs to run them."""

import asyncio
import os
from dataclasses import dataclass
from datetime import datetime, timedelta

from openhtc.domain.identity import JobScope, User
from openhtc.domain.submission import StoredRequest
from openhtc.domain.work import BatchWork, Capacity, ImageSource, JobLease, LeaseAnswer
from openhtc.objects.regions import RegionStores
from openhtc.objects.store import ObjectStore
from openhtc.objects.temporary import TemporaryKeys
from openhtc.services.access import shared_folder, task_folder
from openhtc.services.authentication import claims_of
from openhtc.services.images import RegistryAccess
from openhtc.services.job_tokens import BatchTokens
from openhtc.services.storage_access import KeyCache, task_prefixes
from openhtc.services.tokens import JOB_TOKEN_MARGIN, TOKEN_ID_BYTES, JobRefresh, Tokens
from openhtc.storage import identity, leasing
from openhtc.storage.database import Database
from openhtc.storage.leasing import Granted, WorkBatch

_QUEUE_NAME = "openhtc"
_SIGNED_AT_ONCE = 20
"""Jobs: some milliseconds, after which other requests have their turn."""


@dataclass(frozen=True, slots=True)
class _Signing:
    """What the tokens of a batch's jobs have in common."""

    batch: WorkBatch
    user: User
    tokens: BatchTokens
    expires: int


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where jobs and agents reach the parts."""

    api_url: str
    registry_pull_url: str


class WorkOrders:
    def __init__(
        self,
        database: Database,
        tokens: Tokens,
        registry: RegistryAccess,
        stores: RegionStores,
        keys: KeyCache,
        addresses: Addresses,
    ) -> None:
        self._database = database
        self._tokens = tokens
        self._registry = registry
        self._stores = stores
        self._keys = keys
        self._addresses = addresses

    @property
    def api_url(self) -> str:
        """As jobs are told."""
        return self._addresses.api_url

    async def answer(self, granted: list[Granted], now: datetime) -> LeaseAnswer:
        """The work behind leases that were just granted."""
        if not granted:
            return LeaseAnswer([], [])
        async with self._database.connection() as connection:
            batches = await leasing.batches_for_work(connection, sorted({g.batch_no for g in granted}))
            users = {b.created_by: await identity.find_user(connection, b.created_by) for b in batches}
        works = [await self._batch(batch, now) for batch in batches]
        signing = {b.batch_no: await self._signing(b, users[b.created_by], now) for b in batches}
        random = os.urandom(TOKEN_ID_BYTES * len(granted))
        leases: list[JobLease] = []
        for number, grant in enumerate(granted):
            token_id = random[number * TOKEN_ID_BYTES : (number + 1) * TOKEN_ID_BYTES]
            leases.append(self._lease(grant, signing[grant.batch_no], token_id))
            if len(leases) % _SIGNED_AT_ONCE == 0:
                await asyncio.sleep(0)
        return LeaseAnswer(works, leases)

    async def _signing(self, batch: WorkBatch, user: User | None, now: datetime) -> _Signing:
        assert user is not None, "users are never removed while they have batches"
        lifetime = timedelta(seconds=batch.exec_timeout_seconds) + JOB_TOKEN_MARGIN
        scope = JobScope(batch.project_id, batch.task_id, batch.id, 0, claims_of(batch.request))
        tokens = self._tokens.batch_tokens(await self._tokens.keys(), user, scope, now, lifetime)
        return _Signing(batch, user, tokens, int((now + lifetime).timestamp()))

    async def _batch(self, batch: WorkBatch, now: datetime) -> BatchWork:
        store = self._stores.of(batch.region)
        prefixes = task_prefixes(batch.project_id, batch.task_id)
        until = now + timedelta(seconds=batch.exec_timeout_seconds) + JOB_TOKEN_MARGIN
        keys = await self._keys.keys(store, batch.created_by, prefixes, until)
        definition = batch.request["htcJobDefinition"]
        return BatchWork(
            batch=batch.batch_no,
            parent_job_id=str(batch.id),
            image=ImageSource(
                url=self._addresses.registry_pull_url,
                repository=batch.repository,
                digest=batch.digest,
                token=self._registry.pull_token(batch.repository),
            ),
            commands=definition["commands"],
            working_dir=definition.get("workingDir"),
            envs=[*_user_envs(batch.request), *self._shared_envs(batch, store, keys)],
            needs=Capacity(batch.vcpus, batch.memory_mib, batch.disk_gib),
            exec_timeout_seconds=batch.exec_timeout_seconds,
        )

    def _shared_envs(
        self, batch: WorkBatch, store: ObjectStore, keys: TemporaryKeys
    ) -> list[tuple[str, str]]:
        bucket = f"s3://{store.bucket}/"
        project, task = str(batch.project_id), str(batch.task_id)
        return [
            ("AWS_BATCH_JQ_NAME", f"{_QUEUE_NAME}-{batch.region.lower().replace('_', '-')}"),
            ("AWS_BATCH_CE_NAME", _QUEUE_NAME),
            ("RESCALE_PROJECT_ID", project),
            ("RESCALE_TASK_ID", task),
            ("RESCALE_HTC_PROJECT_ID", project),
            ("RESCALE_HTC_TASK_ID", task),
            ("RESCALE_HTC_REGION", batch.region),
            ("PROJECT_SHARED_FOLDER", bucket + shared_folder(batch.project_id)),
            ("TASK_SHARED_FOLDER", bucket + task_folder(batch.project_id, batch.task_id)),
            ("AWS_ACCESS_KEY_ID", keys.access_key_id),
            ("AWS_SECRET_ACCESS_KEY", keys.secret_access_key),
            ("AWS_SESSION_TOKEN", keys.session_token),
            ("AWS_ENDPOINT_URL_S3", store.endpoint),
            ("AWS_REGION", store.region),
            ("AWS_DEFAULT_REGION", store.region),
            ("OPENHTC_API_URL", self._addresses.api_url),
        ]

    def _lease(self, grant: Granted, signing: _Signing, token_id: bytes) -> JobLease:
        batch, user = signing.batch, signing.user
        job_id = f"{batch.id}:{grant.idx}"
        refresh = JobRefresh(user.id, batch.project_id, batch.task_id, batch.id, grant.idx, signing.expires)
        return JobLease(
            lease=grant.lease,
            batch=grant.batch_no,
            index=grant.idx,
            attempt=grant.attempt,
            envs=[
                ("AWS_BATCH_JOB_ARRAY_INDEX", str(grant.idx)),
                ("AWS_BATCH_JOB_ATTEMPT", str(grant.attempt)),
                ("AWS_BATCH_JOB_ID", job_id),
                ("RESCALE_JOB_ID", job_id),
                ("RESCALE_HTC_BEARER_TOKEN", signing.tokens.token(job_id, token_id)),
                ("RESCALE_HTC_REFRESH_TOKEN", self._tokens.job_refresh_token(refresh)),
            ],
            log_floor_ns=grant.log_floor_ns,
        )


def _user_envs(request: StoredRequest) -> list[tuple[str, str]]:
    return [(pair["name"], pair["value"]) for pair in request["htcJobDefinition"].get("envs", [])]
