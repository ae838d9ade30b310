"""`openhtc admin workspaces`: workspaces, and what they are allowed."""

from typing import TYPE_CHECKING, Annotated

import typer

from openhtc.cli.admin.connection import SettingsOption, actor, administer, run
from openhtc.cli.data_option import DataOption
from openhtc.cli.output import Format, OutputOption, print_json, print_rows
from openhtc.domain.errors import InvalidRequest
from openhtc.domain.regions import Region

if TYPE_CHECKING:
    from openhtc.settings.server import ServerSettings
    from openhtc.storage.database import Database

app = typer.Typer(no_args_is_help=True, help="Workspaces, their regions, limits and features.")


@app.command("create")
def create(
    name: str,
    organization: Annotated[
        str, typer.Option(help="Code of the organization, made when it is new.")
    ] = "local",
    region: Annotated[
        list[Region] | None, typer.Option(help="Region it may use; repeat for more, the default first.")
    ] = None,
    settings: SettingsOption = None,
    data: DataOption = None,
) -> None:
    """Make a workspace; its first region is the default of its projects."""

    async def work(database: "Database", loaded: "ServerSettings") -> str:
        from openhtc.services.administration import Administration

        service = Administration(database, database.now, actor())
        return await service.create_workspace(name, organization, region or loaded.default_regions)

    print_json({"workspace_id": run(settings, data, work)})


@app.command("list")
def list_all(
    settings: SettingsOption = None, data: DataOption = None, output: OutputOption = Format.table
) -> None:
    """All workspaces with their regions."""
    print_rows(administer(settings, data, lambda service: service.list_workspaces()), output)


@app.command("show")
def show(workspace: str, settings: SettingsOption = None, data: DataOption = None) -> None:
    """One workspace with its regions, limit, features and sizes."""
    print_json(administer(settings, data, lambda service: service.show_workspace(workspace)))


@app.command("regions")
def set_regions(
    workspace: str,
    region: Annotated[list[Region], typer.Option(help="Region it may use; repeat, the default first.")],
    settings: SettingsOption = None,
    data: DataOption = None,
) -> None:
    """Say which regions a workspace may use from now on; its projects keep the regions that they have."""
    administer(settings, data, lambda service: service.set_workspace_regions(workspace, region))
    print_json({"workspace_id": workspace, "regions": [name.value for name in region]})


@app.command("htc")
def set_htc(
    workspace: str,
    on: Annotated[bool, typer.Option("--on/--off", help="Whether its users may use HTC.")],
    settings: SettingsOption = None,
    data: DataOption = None,
) -> None:
    """Switch HTC on or off for a workspace. Off: its users are refused with 403; jobs that were accepted go on."""
    administer(settings, data, lambda service: service.set_htc(workspace, on))
    print_json({"workspace_id": workspace, "htc_enabled": on})


@app.command("limit")
def limit(
    workspace: str,
    vcpus: Annotated[int | None, typer.Option(help="vCPUs of all its released jobs together.")] = None,
    clear: Annotated[bool, typer.Option(help="Remove the limit.")] = False,
    settings: SettingsOption = None,
    data: DataOption = None,
) -> None:
    """Set or remove a workspace's limit; held jobs are released as far as there is room then."""
    if clear == (vcpus is not None):
        raise InvalidRequest("say either --vcpus N or --clear")

    async def work(database: "Database", _: "ServerSettings") -> None:
        from openhtc.services.admission import Admission
        from openhtc.services.limits import Limits

        service = Limits(database, Admission(database, database.now), database.now)
        await service.set_workspace(actor(), workspace, vcpus)

    run(settings, data, work)
    print_json({"workspace_id": workspace, "vcpus": vcpus})
