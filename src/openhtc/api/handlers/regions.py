"""Regions of this installation."""

from typing import Annotated

from litestar import get
from litestar.params import QueryParameter

from openhtc.api.requests import PathRegion, WithCaller, WithServices
from openhtc.api.schemas.regions import RegionBody, region_body
from openhtc.domain.enums import CloudProvider

Cloud = Annotated[CloudProvider | None, QueryParameter(name="cloudProvider", required=False)]
Enabled = Annotated[bool | None, QueryParameter(name="enabled", required=False)]


@get("/htc/regions", summary="The regions of this installation")
async def list_regions(
    services: WithServices, caller: WithCaller, cloud_provider: Cloud = None, enabled: Enabled = None
) -> list[RegionBody]:
    """A region is enabled when the operator has enabled it and the caller's workspace may use it."""
    return [region_body(view) for view in await services.regions.visible(caller, cloud_provider, enabled)]


@get("/htc/regions/{region:str}", summary="One region")
async def get_region(services: WithServices, caller: WithCaller, region: PathRegion) -> RegionBody:
    """Only regions that the operator has mapped are known."""
    return region_body(await services.regions.get(caller, region))


HANDLERS = [list_regions, get_region]
