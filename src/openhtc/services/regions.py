"""Regions: what the operator maps to providers, and what a workspace may use of it."""

from collections.abc import Sequence
from dataclasses import dataclass

from openhtc.domain.enums import Architecture, CloudProvider
from openhtc.domain.errors import InvalidRequest, NotFound
from openhtc.domain.identity import Caller
from openhtc.domain.permissions import Operation, permit
from openhtc.domain.regions import Region, SupportedRegion
from openhtc.services.clock import Clock
from openhtc.storage import audit, regions
from openhtc.storage.database import Connection, Database
from openhtc.storage.regions import MappedRegion

PROVIDERS = ("local", "slurm", "kubernetes")


@dataclass(frozen=True, slots=True)
class RegionView:
    """A mapped region as one workspace sees it: ``enabled`` when it may be used there."""

    region: MappedRegion
    enabled: bool


class Regions:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def visible(
        self, caller: Caller, cloud: CloudProvider | None, enabled: bool | None
    ) -> list[RegionView]:
        """Every mapped region, narrowed by cloud and by whether the caller's workspace may use it."""
        permit(caller, Operation.READ_WORKSPACE)
        async with self._database.connection() as connection:
            found = await regions.list_regions(connection)
        views = [RegionView(region, region.name in caller.user.regions) for region in found]
        return [
            view
            for view in views
            if enabled in (None, view.enabled)
            and (cloud is None or Region(view.region.name).cloud_provider is cloud)
        ]

    async def get(self, caller: Caller, name: str) -> RegionView:
        permit(caller, Operation.READ_WORKSPACE)
        async with self._database.connection() as connection:
            found = await regions.find_region(connection, name)
        if found is None or name not in SupportedRegion.__members__:
            raise NotFound(f"there is no region {name!r} here")
        return RegionView(found, name in caller.user.regions)

    async def list(self) -> list[MappedRegion]:
        async with self._database.connection() as connection:
            return await regions.list_regions(connection)

    async def set(
        self,
        actor: str,
        name: Region,
        *,
        provider: str | None = None,
        enabled: bool | None = None,
        weight: float | None = None,
        architectures: Sequence[Architecture] | None = None,
    ) -> MappedRegion:
        """Map a region or change it; what is None stays as it is, or gets the default of a new one."""

        async def work(connection: Connection) -> MappedRegion:
            before = await regions.find_region(connection, name)
            start = before or MappedRegion(name.value, "local", True, 1.0, ["X86"], actor, self._clock())
            after = MappedRegion(
                name=name.value,
                provider=_provider(start.provider if provider is None else provider),
                enabled=start.enabled if enabled is None else enabled,
                weight=_weight(start.weight if weight is None else weight),
                architectures=_distinct(start.architectures if architectures is None else architectures),
                updated_by=actor,
                updated_at=self._clock(),
            )
            await regions.set_region(connection, after)
            details = {
                "provider": after.provider,
                "enabled": after.enabled,
                "weight": after.weight,
                "architectures": after.architectures,
            }
            await audit.record(connection, self._clock(), actor, "region.set", f"region:{name}", details)
            return after

        return await self._database.run(work)


async def require_mapped(connection: Connection, names: Sequence[str]) -> None:
    """Raises InvalidRequest naming the first region that the operator has not mapped."""
    known = [region.name for region in await regions.list_regions(connection)]
    for name in names:
        if name not in known:
            has = f"this installation has {', '.join(known)}" if known else "no region is mapped yet"
            raise InvalidRequest(f"regions: {name} is not mapped to a provider; {has}")


def _provider(name: str) -> str:
    if name not in PROVIDERS:
        raise InvalidRequest(f"provider: {name!r} is none of {', '.join(PROVIDERS)}")
    return name


def _weight(weight: float) -> float:
    if not 0 <= weight <= 1_000_000:
        raise InvalidRequest(f"weight: {weight} is not within 0 and 1000000")
    return weight


def _distinct(names: Sequence[str]) -> list[str]:
    if not names:
        raise InvalidRequest("architectures: expected at least one")
    return list(dict.fromkeys(str(name) for name in names))
