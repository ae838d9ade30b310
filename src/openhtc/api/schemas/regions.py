"""Bodies of the region operations."""

from typing import Annotated

from msgspec import Meta, Struct

from openhtc.api.schemas.pieces import Moment, ReadOnly
from openhtc.api.times import rfc3339
from openhtc.domain.enums import Architecture, CloudProvider
from openhtc.domain.regions import Region
from openhtc.services.regions import RegionView


class RegionBody(Struct, frozen=True, rename="camel", kw_only=True):
    """A region of this installation; ``enabled`` when the caller's workspace may use it."""

    region: Annotated[Region, ReadOnly]
    enabled: bool
    weight: Annotated[float, Meta(description="Its share of the jobs that may run in several regions")]
    updated_by: Annotated[str, ReadOnly]
    updated_at: Annotated[Moment, ReadOnly]
    supported_architectures: list[Architecture]
    cloud_provider: CloudProvider


def region_body(view: RegionView) -> RegionBody:
    region = Region(view.region.name)
    return RegionBody(
        region=region,
        enabled=view.enabled,
        weight=view.region.weight,
        updated_by=view.region.updated_by,
        updated_at=rfc3339(view.region.updated_at),
        supported_architectures=[Architecture(name) for name in view.region.architectures],
        cloud_provider=region.cloud_provider,
    )
