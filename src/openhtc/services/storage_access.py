"""Temporary keys and presigned addresses for the folders of projects and tasks, in the store of each region."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from openhtc.domain.enums import LifecycleStatus
from openhtc.domain.errors import InvalidRequest, NotFound
from openhtc.domain.identity import Caller
from openhtc.domain.permissions import Operation, permit
from openhtc.domain.regions import Region, SupportedRegion
from openhtc.objects.grants import Grant
from openhtc.objects.regions import RegionStores
from openhtc.objects.store import ObjectStore
from openhtc.objects.temporary import MAX_SECONDS, MIN_SECONDS, TemporaryKeys
from openhtc.services.access import project_for, shared_folder, task_folder, task_for
from openhtc.services.clock import Clock
from openhtc.storage.database import Database
from openhtc.storage.projects import Project, Task

_SLACK = timedelta(minutes=30)
"""Keys that end so much earlier than asked for are given again rather than made anew."""
_CACHED_AT_MOST = 10_000
_PRESIGNED_SECONDS = 3600
_MAX_PATH = 900


@dataclass(frozen=True, slots=True)
class Presigned:
    url: str
    region: str
    bucket: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class StoreAccess:
    """Keys for the store of one region."""

    region: Region
    bucket: str
    endpoint: str
    keys: TemporaryKeys


class KeyCache:
    """Temporary keys, given again to everyone with the same reach: a key for each job would be wasted."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._keys: dict[tuple[str, str, str, tuple[str, ...]], TemporaryKeys] = {}

    async def keys(
        self, store: ObjectStore, owner: str, prefixes: tuple[str, ...], until: datetime
    ) -> TemporaryKeys:
        """Keys that read, write, delete and list below the prefixes.

        They expire at ``until`` or up to half an hour earlier, as far as the store gives keys for that: at least for
        15 minutes, at most for 12 hours.
        """
        now = self._clock()
        last = min(max(until, now + timedelta(seconds=MIN_SECONDS)), now + timedelta(seconds=MAX_SECONDS))
        place = (store.endpoint, store.bucket, owner, prefixes)
        cached = self._keys.get(place)
        if cached is not None and last - _SLACK <= cached.expires_at <= last:
            return cached
        grants = [Grant(prefix, read=True, write=True, list=True) for prefix in prefixes]
        keys = await store.temporary_keys(grants, int((last - now).total_seconds()), owner)
        if len(self._keys) >= _CACHED_AT_MOST:
            self._keys.clear()
        self._keys[place] = keys
        return keys


class StorageAccess:
    def __init__(self, database: Database, stores: RegionStores, cache: KeyCache, clock: Clock) -> None:
        self._database = database
        self._stores = stores
        self._cache = cache
        self._clock = clock

    async def of_project(
        self, caller: Caller, project_id: str, region: str | None = None
    ) -> tuple[Project, StoreAccess]:
        """Keys for the whole project in one region; a job gets its task's folder and the shared one."""
        project, prefixes = await self._project(caller, project_id)
        return project, await self._access(caller, _region(project, region), prefixes)

    async def all_of_project(self, caller: Caller, project_id: str) -> tuple[Project, list[StoreAccess]]:
        """The same for every region of the project, the default one first."""
        project, prefixes = await self._project(caller, project_id)
        return project, await self._everywhere(caller, project, prefixes)

    async def of_task(
        self, caller: Caller, project_id: str, task_id: str, region: str | None = None
    ) -> tuple[Project, Task, StoreAccess]:
        """Keys for the task's folder and the project's shared one, in one region."""
        project, task = await self._task(caller, project_id, task_id)
        prefixes = task_prefixes(project.id, task.id)
        return project, task, await self._access(caller, _region(project, region), prefixes)

    async def all_of_task(
        self, caller: Caller, project_id: str, task_id: str
    ) -> tuple[Project, Task, list[StoreAccess]]:
        project, task = await self._task(caller, project_id, task_id)
        return project, task, await self._everywhere(caller, project, task_prefixes(project.id, task.id))

    async def presign_project(self, caller: Caller, project_id: str, path: str) -> Presigned:
        permit(caller, Operation.USE_STORAGE)
        async with self._database.connection() as connection:
            project = await project_for(connection, caller, project_id)
        return await self._presign(f"{shared_folder(project.id)}/{_checked(path)}", project)

    async def presign_task(self, caller: Caller, project_id: str, task_id: str, path: str) -> Presigned:
        project, task = await self._task(caller, project_id, task_id)
        return await self._presign(f"{task_folder(project.id, task.id)}/{_checked(path)}", project)

    def options(self, caller: Caller) -> list[tuple[Region, str]]:
        """Every region that the workspace may use, with its bucket."""
        permit(caller, Operation.READ_WORKSPACE)
        return [(Region(name), self._stores.of(name).bucket) for name in caller.user.regions]

    def option(self, caller: Caller, region: str) -> tuple[Region, str]:
        for found in self.options(caller):
            if found[0] == region and region in SupportedRegion.__members__:
                return found
        raise NotFound(f"region {region!r} is not one that your workspace may use")

    async def _project(self, caller: Caller, project_id: str) -> tuple[Project, tuple[str, ...]]:
        permit(caller, Operation.USE_STORAGE)
        async with self._database.connection() as connection:
            project = await project_for(connection, caller, project_id)
        if caller.job is None:
            return project, (f"projects/{project.id}/",)
        return project, task_prefixes(project.id, caller.job.task_id)

    async def _task(self, caller: Caller, project_id: str, task_id: str) -> tuple[Project, Task]:
        permit(caller, Operation.USE_STORAGE)
        async with self._database.connection() as connection:
            project, task = await task_for(connection, caller, project_id, task_id)
        if task.lifecycle is LifecycleStatus.DELETED:
            raise InvalidRequest("the task is DELETED, its files are being removed", code="TASK_NOT_ACTIVE")
        return project, task

    async def _access(self, caller: Caller, region: Region, prefixes: tuple[str, ...]) -> StoreAccess:
        store = self._stores.of(region)
        keys = await self._cache.keys(store, caller.user.id, prefixes, self._end_of(caller))
        return StoreAccess(region, store.bucket, store.endpoint, keys)

    async def _everywhere(
        self, caller: Caller, project: Project, prefixes: tuple[str, ...]
    ) -> list[StoreAccess]:
        return [await self._access(caller, Region(name), prefixes) for name in project.regions]

    def _end_of(self, caller: Caller) -> datetime:
        """When the token that asks expires: keys shall not outlive it."""
        expires = dict(caller.claims).get("exp")
        now = self._clock()
        return datetime.fromtimestamp(expires, now.tzinfo) if isinstance(expires, int) else now

    async def _presign(self, key: str, project: Project) -> Presigned:
        region = project.regions[0]
        store = self._stores.of(region)
        url = await store.presign_put(key, _PRESIGNED_SECONDS)
        expires_at = self._clock() + timedelta(seconds=_PRESIGNED_SECONDS)
        return Presigned(url, region, store.bucket, expires_at)


def task_prefixes(project_id: UUID, task_id: UUID) -> tuple[str, ...]:
    return (f"{task_folder(project_id, task_id)}/", f"{shared_folder(project_id)}/")


def _region(project: Project, wanted: str | None) -> Region:
    if wanted is None:
        return Region(project.regions[0])
    if wanted not in SupportedRegion.__members__ or wanted not in project.regions:
        raise NotFound(f"{wanted!r} is not a region of the project, which has {_listed(project.regions)}")
    return Region(wanted)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)


def _checked(path: str) -> str:
    """A path below a folder; raises InvalidRequest for anything that could mean another place."""
    if len(path) > _MAX_PATH or any(ord(character) < 32 for character in path) or "\\" in path:
        raise InvalidRequest(
            f"filePath: expected at most {_MAX_PATH} characters without control characters or '\\'"
        )
    if any(part in ("", ".", "..") for part in path.split("/")):
        raise InvalidRequest(f"filePath: {path!r} is not a relative path without '.', '..' and empty parts")
    return path
