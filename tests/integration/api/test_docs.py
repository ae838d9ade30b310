"""The description, the page to browse it, and what HTTP itself is told."""

import json
import re

import httpx
import pytest

from ...stack import Api, Json, Stack, ok
from .refusals import refused


def test_the_page_needs_nothing_from_elsewhere(stack: Stack) -> None:
    page = httpx.get(f"{stack.root_url}/docs", trust_env=False)
    assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    for address in re.findall(r'(?:src|href)="([^"]+)"', page.text):
        assert "//" not in address
        assert httpx.get(f"{stack.root_url}/{address}", trust_env=False).status_code == 200, address
    start = httpx.get(f"{stack.root_url}/docs/start.js", trust_env=False).text
    (described,) = re.findall('url: "(.+?)"', start)
    assert httpx.get(f"{stack.root_url}/{described}", trust_env=False).status_code == 200


def test_every_operation_is_described_whole(stack: Stack) -> None:
    document: Json = httpx.get(f"{stack.root_url}/q/openapi", trust_env=False).json()
    names = []
    for path, item in document["paths"].items():
        for method, operation in item.items():
            where = f"{method} {path}"
            names.append(operation["operationId"])
            assert operation["summary"] and operation["tags"], where
            assert all(parameter["description"] for parameter in operation.get("parameters", ())), where
            if operation["security"]:
                assert "401" in operation["responses"], where
            for status, answer in operation["responses"].items():
                assert answer["description"], (where, status)
                if status >= "400":
                    assert answer["content"]["application/json"]["example"]["errorType"], (where, status)
    assert len(names) == len(set(names)) == 57


def test_a_path_says_what_it_takes(alice_api: Api, stack: Stack) -> None:
    for path, methods in (
        ("/htc/projects", "GET, OPTIONS, POST"),
        ("/htc/projects/x/tasks/y/jobs/batch", "OPTIONS, POST"),
        ("/htc/projects/x/container-registry/images/a/b:c", "GET, OPTIONS"),
    ):
        assert alice_api.options(path).headers["allow"] == methods
        answer = alice_api.request("DELETE", path)
        assert answer.headers["allow"] == methods
        refused(answer, 405, "METHOD_NOT_ALLOWED")


def test_a_body_that_is_too_large(alice_api: Api) -> None:
    body = json.dumps({"projectName": "x", "projectDescription": "y" * 1_100_000})
    headers = {"Content-Type": "application/json"}
    refused(alice_api.post("/htc/projects", content=body, headers=headers), 413, "BODY_TOO_LARGE")
    chunks = (b" " * 65_536 for _ in range(20))
    refused(alice_api.post("/htc/projects", content=chunks, headers=headers), 413, "BODY_TOO_LARGE")


@pytest.mark.parametrize("opened", ["[", '{"a":', '[{"htcJobDefinition":{"tags":'])
def test_json_without_a_bottom(alice_api: Api, opened: str) -> None:
    headers = {"Content-Type": "application/json"}
    for path in ("/htc/projects", "/htc/projects/x/tasks/y/jobs/batch"):
        answer = alice_api.post(path, content=opened * 100_000, headers=headers)
        assert answer.status_code in (400, 413), answer.text
    assert ok(alice_api.get("/htc/projects", params={"pageSize": 1}))


def test_the_text_null_is_no_value(alice_api: Api, project: Json) -> None:
    task = alice_api.new_task(project["projectId"])
    assert "leave it out" in refused(alice_api.get(f"{task.path}/jobs", params={"status": "null"}), 400)
    assert "leave it out" in refused(alice_api.get("/htc/regions", params={"enabled": "null"}), 400)
    assert ok(alice_api.get(f"{task.path}/jobs", params={"group": "null"}))["items"] == []
    refused(alice_api.get(f"{task.path}/jobs", params={"pageIndex": "null"}), 400)
