"""C8 to C12, C17 and C38: projects, tasks and their pages."""

from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest

from ...stack import Api, Json, Stack, User, ok, pages
from .refusals import refused


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ('{"projectName": "p"}', "projectDescription"),
        ('{"projectDescription": "d"}', "projectName"),
        ('{"projectName": "", "projectDescription": ""}', 'projectName: "" is shorter than 1'),
        ('{"projectName": 7, "projectDescription": ""}', "projectName: 7 is of type int, expected str"),
        ('{"projectName": "p", "projectDescription": null}', "projectDescription: null"),
        ('{"projectName": "p", "projectDescription": "", "regions": ["MARS"]}', 'regions[0]: "MARS"'),
        ('{"projectName": "p", "projectDescription": "", "regions": ["AWS_EU_WEST_1"]}', "AWS_EU_WEST_1"),
        ('{"projectName": "p", ', ""),
        ("[]", "the body"),
        ("", ""),
    ],
)
def test_c8_refused_projects(alice_api: Api, body: str, named: str) -> None:
    answer = alice_api.post("/htc/projects", content=body, headers={"Content-Type": "application/json"})
    assert named in refused(answer, 400, "INVALID_REQUEST")


def test_c9_names_are_not_unique(alice_api: Api) -> None:
    first, second = (alice_api.new_project("the same name") for _ in range(2))
    assert first["projectId"] != second["projectId"]


def test_unknown_and_read_only_members_are_ignored(alice_api: Api) -> None:
    made = alice_api.new_project("p", projectId=str(uuid4()), colour="red", createdBy="me")
    assert made["createdBy"] != "me" and "colour" not in made
    assert ok(alice_api.get(f"/htc/projects/{made['projectId']}")) == made
    assert made["projectFolderPath"] == f"projects/{made['projectId']}/"
    assert made["regionSettings"] == [
        {
            "computeSettings": {"computeRegion": made["regions"][0]},
            "storageSettings": {"storageRegion": made["regions"][0]},
        }
    ]


@pytest.fixture(scope="module")
def five_projects(alice_api: Api) -> list[str]:
    return [alice_api.new_project(f"page {n}")["projectId"] for n in range(5)]


def origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def test_c10_following_next(stack: Stack, alice_api: Api, five_projects: list[str]) -> None:
    path, seen = "/htc/projects?onlyMyProjects=true&pageSize=2", []
    while path:
        page = ok(alice_api.get(path))
        seen += [item["projectId"] for item in page["items"]]
        path = page.get("next", "")
        if path:
            assert len(page["items"]) == 2
            assert origin(path) == stack.root_url and urlsplit(path).path == "/api/v1/htc/projects"
            query = parse_qs(urlsplit(path).query)
            assert query["pageSize"] == ["2"] and query["onlyMyProjects"] == ["true"]
            assert query["pageIndex"] != [""]
    assert "next" not in page
    assert len(seen) == len(set(seen))
    assert [project for project in seen if project in five_projects] == five_projects


def test_c10_a_full_last_page_has_no_next(alice_api: Api, five_projects: list[str]) -> None:
    project = five_projects[0]
    tasks = [alice_api.new_task(project, f"t{n}").task_id for n in range(4)]
    path = f"/htc/projects/{project}/tasks"
    first = ok(alice_api.get(path, params={"pageSize": 2}))
    second = ok(alice_api.get(first["next"]))
    assert [task["taskId"] for task in first["items"] + second["items"]] == tasks
    assert "next" not in second
    assert "next" not in ok(alice_api.get(path, params={"pageSize": 4}))
    empty = ok(alice_api.get(f"/htc/projects/{five_projects[1]}/tasks"))
    assert empty == {"items": []}


def test_c10_next_follows_the_host_that_was_used(alice_api: Api, five_projects: list[str]) -> None:
    for host in ("htc.example.org", "htc.example.org:8443", "[::1]:80"):
        page = ok(alice_api.get("/htc/projects?pageSize=1", headers={"Host": host}))
        assert origin(page["next"]) == f"http://{host}"


def test_c10_forwarded_headers_of_strangers_are_ignored(
    stack: Stack, alice_api: Api, five_projects: list[str]
) -> None:
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example.org"}
    page = ok(alice_api.get("/htc/projects?pageSize=1", headers=headers))
    assert origin(page["next"]) == stack.root_url


def test_c11_page_parameters(alice_api: Api, five_projects: list[str]) -> None:
    assert len(ok(alice_api.get("/htc/projects?pageIndex="))["items"]) >= 5
    assert len(ok(alice_api.get("/htc/projects?pageSize=2&pageSize=3"))["items"]) == 3
    assert len(ok(alice_api.get("/htc/projects?pageSize=100000&colour=red"))["items"]) >= 5
    for query in (
        "pageSize=0",
        "pageSize=-1",
        "pageSize=many",
        "pageSize=",
        "pageIndex=garbage",
        "pageIndex=LTE",
        "pageIndex=OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5",
        "onlyMyProjects=perhaps",
    ):
        text = refused(alice_api.get(f"/htc/projects?{query}"), 400, "INVALID_REQUEST")
        assert query.split("=")[0] in text


def test_c12_only_my_projects(alice_api: Api, bob_api: Api, bob: User, five_projects: list[str]) -> None:
    mine = bob_api.new_project("of bob")["projectId"]
    listed = list(pages(bob_api, "/htc/projects", onlyMyProjects="true"))
    assert mine in [project["projectId"] for project in listed]
    assert {project["createdBy"] for project in listed} == {bob.id}
    every = [project["projectId"] for project in pages(bob_api, "/htc/projects", pageSize=1000)]
    assert set(five_projects) <= set(every), "members see the projects of their workspace"


def test_c17_tasks(alice_api: Api, alice: User, five_projects: list[str]) -> None:
    path = f"/htc/projects/{five_projects[2]}/tasks"
    made = ok(alice_api.post(path, json={"taskName": "t", "taskDescription": ""}))
    assert (made["taskName"], made["taskDescription"], made["lifecycleStatus"]) == ("t", "", "ACTIVE")
    assert (made["createdBy"], made["projectId"]) == (alice.id, five_projects[2])
    assert (made["archivedAt"], made["deletedAt"]) == (None, None)
    assert made["taskFolderPath"] == f"projects/{five_projects[2]}/tasks/{made['taskId']}"
    assert ok(alice_api.get(f"{path}/{made['taskId']}")) == made
    for body in ({}, {"taskName": "t"}, {"taskName": None, "taskDescription": ""}):
        refused(alice_api.post(path, json=body), 400)


def test_c38_unknown_paths_and_ids(stack: Stack, alice_api: Api, project: Json) -> None:
    one = f"/htc/projects/{project['projectId']}"
    for path in (
        "/htc/nothing",
        "/nothing/at/all",
        f"{stack.root_url}/htc/nothing",
        f"/htc/projects/{uuid4()}",
        "/htc/projects/7",
        f"{one}/tasks/{uuid4()}",
        f"{one}/tasks/x",
        f"{one}/tasks/{uuid4()}/jobs",
        f"{one}/nothing",
    ):
        refused(alice_api.get(path), 404)
    refused(alice_api.put("/htc/projects", json={}), 405)


def test_a_request_in_pieces(alice_api: Api) -> None:
    pieces = iter([b'{"projectName": "in pieces",', b' "projectDescription": ""}'])
    headers = {"Content-Type": "application/json"}
    made = ok(alice_api.post("/htc/projects", content=pieces, headers=headers))
    assert made["projectName"] == "in pieces"
