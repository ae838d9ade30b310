"""Bodies of the project and registry operations."""

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType, field

from openhtc.api.schemas.pieces import Moment, ReadOnly
from openhtc.api.times import rfc3339
from openhtc.domain.enums import ImageState
from openhtc.domain.regions import Region
from openhtc.storage.projects import Project


class ComputeSettings(Struct, frozen=True, rename="camel"):
    compute_region: Region


class StorageSettings(Struct, frozen=True, rename="camel"):
    storage_region: Region


class RegionSettings(Struct, frozen=True, rename="camel"):
    compute_settings: ComputeSettings
    storage_settings: StorageSettings


Text = Annotated[str | UnsetType, ReadOnly]


class ProjectBody(Struct, frozen=True, rename="camel"):
    """What a client sends (name, description, regions) and what it gets back (all of it)."""

    project_name: Annotated[str, Meta(min_length=1, max_length=1024, examples=["bracket study"])]
    project_description: str
    regions: list[Region] | UnsetType = UNSET
    region_settings: list[RegionSettings] | UnsetType = UNSET
    project_id: Text = UNSET
    created_by: Text = UNSET
    workspace_id: Text = UNSET
    organization_code: Annotated[str | None | UnsetType, ReadOnly] = UNSET
    created_at: Annotated[Moment | UnsetType, ReadOnly] = UNSET
    container_registry: Text = UNSET
    repositories: Annotated[list[str] | UnsetType, ReadOnly] = UNSET
    project_folder_path: Text = UNSET

    def wanted_regions(self) -> list[Region]:
        """Named directly or by their settings; empty when the choice is ours."""
        if not isinstance(self.regions, UnsetType) and self.regions:
            return self.regions
        if isinstance(self.region_settings, UnsetType):
            return []
        return [settings.compute_settings.compute_region for settings in self.region_settings]


class ProjectUpdateBody(Struct, frozen=True):
    regions: list[Region] | UnsetType = UNSET

    def wanted_regions(self) -> list[Region]:
        return [] if isinstance(self.regions, UnsetType) else self.regions


class ProjectPage(Struct, frozen=True):
    items: list[ProjectBody]
    next: str | UnsetType = UNSET


class RepositoryBody(Struct, frozen=True, rename="camel"):
    repository_name: Annotated[str, ReadOnly]
    successfully_created: bool
    project_id: Annotated[str, ReadOnly]
    created_by: Annotated[str, ReadOnly]
    workspace_id: Annotated[str, ReadOnly]
    registry_uri: Annotated[str, ReadOnly] = field(name="registryURI")


class ImagesBody(Struct, frozen=True, rename="camel"):
    container_registry: Annotated[str, ReadOnly]
    images: Annotated[list[str], ReadOnly]


class ImageStatusBody(Struct, frozen=True):
    status: ImageState


def project_body(project: Project, container_registry: str) -> ProjectBody:
    regions = [Region(name) for name in project.regions]
    return ProjectBody(
        project_name=project.name,
        project_description=project.description,
        regions=regions,
        region_settings=[RegionSettings(ComputeSettings(r), StorageSettings(r)) for r in regions],
        project_id=str(project.id),
        created_by=project.created_by,
        workspace_id=project.workspace_id,
        organization_code=project.organization_code,
        created_at=rfc3339(project.created_at),
        container_registry=container_registry,
        repositories=project.repositories,
        project_folder_path=f"projects/{project.id}/",
    )
