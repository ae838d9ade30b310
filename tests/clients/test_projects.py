"""P7 to P9 and P12: projects and tasks."""

from collections.abc import Callable
from uuid import uuid4

from rescalehtc import HtcSession, api, htcprojects, htctasks
from rescalehtc.htcprojects import HtcProject

from ..stack import Json, Stack, User


def new_project(htc: HtcSession, name: str) -> Json:
    made: Json = api.post_htc_projects(htc, {"projectName": name, "projectDescription": "of a test"})
    return made


def test_p7_create_a_project(htc: HtcSession, alice: User) -> None:
    made = new_project(htc, "one")
    assert (made["projectName"], made["projectDescription"]) == ("one", "of a test")
    assert len(made["regions"]) == 1 and "AWS" in made["regions"][0]
    assert made["repositories"] == []
    assert made["createdBy"] == alice.id
    assert "aws.com" in made["containerRegistry"]
    assert made["containerRegistry"].endswith("/")
    assert "://" not in made["containerRegistry"]


def test_p8_find_projects(htc: HtcSession) -> None:
    name = f"sought {uuid4()}"
    made = new_project(htc, name)
    listed = {found.json["projectId"]: found.json for found in htcprojects.get_projects(htc)}
    assert listed[made["projectId"]] == made
    by_name = htcprojects.get_project_with_name(htc, name)
    assert by_name is not None and by_name.json == made
    by_id = htcprojects.get_project_with_id(htc, made["projectId"])
    assert by_id is not None and by_id.json == made
    assert htcprojects.get_project_with_name(htc, f"not {name}") is None
    assert htcprojects.get_project_with_id(htc, str(uuid4())) is None


def test_p9_list_250_projects(
    stack: Stack,
    new_user: Callable[..., User],
    session_of: Callable[[User], HtcSession],
    requests_made: Callable[[], list[str]],
) -> None:
    workspace = stack.new_workspace("250 projects")
    htc = session_of(new_user("carol", workspace))
    names = [f"project {n}" for n in range(250)]
    for name in names:
        new_project(htc, name)
    before = len(requests_made())
    found = [project.json["projectName"] for project in htcprojects.get_projects(htc)]
    assert found == names, "all of them, in the order of their creation"
    assert len(requests_made()) - before == 3, "three pages of the default size"


def test_p12_tasks(htc: HtcSession, htc_project: HtcProject) -> None:
    name = f"task {uuid4()}"
    plain = htctasks.create_task_with_name(htc, htc_project, name)
    described = htctasks.create_task_with_name(htc, htc_project, f"{name} b", "a description")
    assert plain.json["taskDescription"] == ""
    assert described.json["taskDescription"] == "a description"
    ids = {task.json["taskId"] for task in htctasks.get_tasks(htc, htc_project)}
    assert {plain.json["taskId"], described.json["taskId"]} <= ids
    named = htctasks.get_tasks_with_name(htc, htc_project, name)
    assert [task.json for task in named] == [plain.json]
    assert named[0].json["lifecycleStatus"] == "ACTIVE"
    found = htctasks.get_task_with_id(htc, htc_project, plain.json["taskId"])
    assert found is not None and found.json == plain.json
    assert htctasks.get_task_with_id(htc, htc_project, str(uuid4())) is None
