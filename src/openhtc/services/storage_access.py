"""Temporary keys and presigned addresses for the folders of projects and tasks."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from openhtc.domain.errors import InvalidRequest, NotFound
from openhtc.domain.identity import Caller
from openhtc.domain.permissions import Operation, permit
from openhtc.domain.regions import Region
from openhtc.objects.grants import Grant
from openhtc.objects.store import ObjectStore
from openhtc.objects.temporary import TemporaryKeys
from openhtc.services.access import project_for, shared_folder, task_folder, task_for
from openhtc.services.clock import Clock
from openhtc.storage.database import Database
from openhtc.storage.projects import Project, Task

KEYS_LIFETIME = timedelta(hours=12)
_REUSED_FOR = timedelta(hours=1)
_CACHED_AT_MOST = 10_000
_PRESIGNED_SECONDS = 3600
_MAX_PATH = 900


@dataclass(frozen=True, slots=True)
class Presigned:
    url: str
    region: str
    expires_at: datetime


class KeyCache:
    """Temporary keys, reused for an hour by everyone with the same reach: a key for each job would be wasted."""

    def __init__(self, objects: ObjectStore, clock: Clock) -> None:
        self._objects = objects
        self._clock = clock
        self._keys: dict[tuple[str, tuple[str, ...]], tuple[datetime, TemporaryKeys]] = {}

    async def keys(self, owner: str, prefixes: tuple[str, ...]) -> TemporaryKeys:
        """Keys that read, write, delete and list below the prefixes, valid for at least 11 hours."""
        now = self._clock()
        cached = self._keys.get((owner, prefixes))
        if cached is not None and now - cached[0] < _REUSED_FOR:
            return cached[1]
        keys = await self._objects.temporary_keys(
            [Grant(prefix, read=True, write=True, list=True) for prefix in prefixes],
            int(KEYS_LIFETIME.total_seconds()),
            owner,
        )
        if len(self._keys) >= _CACHED_AT_MOST:
            self._keys.clear()
        self._keys[owner, prefixes] = (now, keys)
        return keys


class StorageAccess:
    def __init__(self, database: Database, objects: ObjectStore, cache: KeyCache, clock: Clock) -> None:
        self._database = database
        self._objects = objects
        self._cache = cache
        self._clock = clock

    async def project_keys(
        self, caller: Caller, project_id: str, region: str | None = None
    ) -> tuple[Project, str, TemporaryKeys]:
        """Keys for the whole project; a job gets its task's folder and the shared one."""
        async with self._database.connection() as connection:
            project = await project_for(connection, caller, project_id)
        chosen = _region(project, region)
        if caller.job is None:
            prefixes: tuple[str, ...] = (f"projects/{project.id}/",)
        else:
            prefixes = task_prefixes(project.id, caller.job.task_id)
        return project, chosen, await self._cache.keys(caller.user.id, prefixes)

    async def task_keys(
        self, caller: Caller, project_id: str, task_id: str, region: str | None = None
    ) -> tuple[Project, Task, str, TemporaryKeys]:
        """Keys for the task's folder and the project's shared one."""
        async with self._database.connection() as connection:
            project, task = await task_for(connection, caller, project_id, task_id)
        chosen = _region(project, region)
        keys = await self._cache.keys(caller.user.id, task_prefixes(project.id, task.id))
        return project, task, chosen, keys

    async def presign_project(self, caller: Caller, project_id: str, path: str) -> Presigned:
        permit(caller, Operation.USE_STORAGE)
        async with self._database.connection() as connection:
            project = await project_for(connection, caller, project_id)
        return await self._presign(f"{shared_folder(project.id)}/{_checked(path)}", project)

    async def presign_task(self, caller: Caller, project_id: str, task_id: str, path: str) -> Presigned:
        async with self._database.connection() as connection:
            project, task = await task_for(connection, caller, project_id, task_id)
        return await self._presign(f"{task_folder(project.id, task.id)}/{_checked(path)}", project)

    async def _presign(self, key: str, project: Project) -> Presigned:
        url = await self._objects.presign_put(key, _PRESIGNED_SECONDS)
        return Presigned(url, project.regions[0], self._clock() + timedelta(seconds=_PRESIGNED_SECONDS))


def task_prefixes(project_id: UUID, task_id: UUID) -> tuple[str, ...]:
    return (f"{task_folder(project_id, task_id)}/", f"{shared_folder(project_id)}/")


def _region(project: Project, wanted: str | None) -> str:
    if wanted is None:
        return project.regions[0]
    if wanted not in Region.__members__ or wanted not in project.regions:
        raise NotFound(f"{wanted!r} is not a region of the project, which has {', '.join(project.regions)}")
    return wanted


def _checked(path: str) -> str:
    """A path below a folder; raises InvalidRequest for anything that could mean another place."""
    if len(path) > _MAX_PATH or any(ord(character) < 32 for character in path) or "\\" in path:
        raise InvalidRequest(
            f"filePath: expected at most {_MAX_PATH} characters without control characters or '\\'"
        )
    if any(part in ("", ".", "..") for part in path.split("/")):
        raise InvalidRequest(f"filePath: {path!r} is not a relative path without '.', '..' and empty parts")
    return path
