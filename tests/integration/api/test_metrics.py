"""C33: metrics over HTTP, with every kind of Accept-Encoding."""

import gzip
import json
from collections.abc import Iterator

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from ...exposition import Exposition, parse
from ...stack import IMAGE, Api, Image, Json, Stack, ok, shell
from .refusals import refused

NAME = 'metrics "of" a\\project'
PLAIN = (None, "", "text/plain", "identity", "gzip;q=0", "gzip; q=0.000", "*", "deflate, br", "gzipped")
PACKED = ("gzip", "GZIP", "deflate, gzip;q=0.5", "br;q=1.0,gzip;q=1", "identity;q=0, gzip ; q=0.001")


@pytest.fixture(scope="module")
def limited(stranger_api: Api) -> Json:
    """A project with a limit and a name that needs escaping."""
    made = stranger_api.new_project(NAME)
    body = {"modifierRole": "PROJECT_ADMIN", "vCPUs": 7}
    answer = stranger_api.post(f"/htc/projects/{made['projectId']}/limits", json=body)
    assert answer.status_code == 201, answer.text
    return made


def raw(api: Api, url: str, encoding: str | None, **headers: str) -> httpx.Response:
    """Sends this Accept-Encoding, or none at all, whatever the HTTP library would like; the body stays packed."""
    request = api.build_request("GET", url, headers=headers)
    del request.headers["accept-encoding"]
    if encoding is not None:
        request.headers["accept-encoding"] = encoding
    answer = api.send(request, stream=True)
    answer._content = b"".join(answer.iter_raw())
    return answer


def checked(answer: httpx.Response) -> Exposition:
    assert answer.status_code == 200, answer.content
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.headers["vary"].lower() == "accept-encoding"
    packed = answer.headers.get("content-encoding") == "gzip"
    text = (gzip.decompress(answer.content) if packed else answer.content).decode()
    assert [family.name for family in text_string_to_metric_families(text)], (
        "as Prometheus' own parser reads it"
    )
    return parse(text)


@pytest.mark.parametrize("encoding", PLAIN)
def test_c33_plain(stranger_api: Api, limited: Json, encoding: str | None) -> None:
    answer = raw(stranger_api, "/htc/metrics", encoding)
    assert "content-encoding" not in answer.headers
    found = checked(answer)
    assert found.value("htc_job_limit_vcpus", project_name=NAME, project_id=limited["projectId"]) == 7


@pytest.mark.parametrize("encoding", PACKED)
def test_c33_gzip(stranger_api: Api, limited: Json, encoding: str) -> None:
    answer = raw(stranger_api, "/htc/metrics", encoding)
    assert answer.headers["content-encoding"] == "gzip"
    assert checked(answer).value("htc_job_limit_vcpus", project_name=NAME) == 7


def test_c33_jobs_that_ran(stack: Stack, alice_api: Api, busybox_image: Image) -> None:
    project = alice_api.new_project("measured")
    alice_api.push(project, busybox_image, IMAGE)
    task = alice_api.new_task(project["projectId"])
    task.submit(shell("exit 3", size=2), shell("true"))
    task.wait_for_end()
    found = checked(raw(alice_api, f"{stack.root_url}/htc/metrics", None))
    mine = {"workspace_id": stack.credentials["workspace_id"], "project_id": project["projectId"]}
    assert found.value("htc_job_ends_total", **mine, code="ErrorNonZeroContainerExitCode") == 2
    assert found.value("htc_job_ends_total", **mine, result="succeeded") == 1
    for name in ("htc_job_starts_total", "htc_job_run_seconds_count", "htc_job_wait_seconds_count"):
        assert found.value(name, **mine) == 3, name
    assert found.value("htc_jobs", **mine, status="FAILED") == 2
    assert found.value("htc_job_active_vcpus", **mine) == 0


def test_c33_who_may(anonymous: Api, stranger_api: Api, alice_api: Api, limited: Json) -> None:
    refused(anonymous.get("/htc/metrics"), 401, "UNAUTHORIZED")
    assert limited["projectId"] not in alice_api.get("/htc/metrics").text
    assert limited["projectId"] in stranger_api.get("/htc/metrics").text


@pytest.fixture(scope="module")
def metrics_key(stack: Stack) -> Iterator[str]:
    made = stack.admin("keys", "create", "--kind", "metrics", "--label", "prometheus")
    yield made["key"]
    stack.admin("keys", "revoke", made["key_id"])


@pytest.mark.parametrize("scheme", ["Bearer", "Token"])
def test_the_operator_s_metrics(
    stack: Stack, anonymous: Api, metrics_key: str, limited: Json, project: Json, scheme: str
) -> None:
    answer = raw(anonymous, f"{stack.root_url}/metrics", "gzip", Authorization=f"{scheme} {metrics_key}")
    found = checked(answer)
    assert {limited["projectId"], project["projectId"]} <= found.label_values("project_id")
    assert found.value("htc_keepers") == 1
    assert found.value("htc_agents") >= 1, "other tests open sessions of agents too"
    assert found.total("htc_node_vcpus") > 0


def test_the_operator_s_metrics_take_no_other_credential(
    stack: Stack, anonymous: Api, stranger_api: Api, metrics_key: str
) -> None:
    url = f"{stack.root_url}/metrics"
    refused(anonymous.get(url), 401, "UNAUTHORIZED")
    refused(stranger_api.get(url), 401, "UNAUTHORIZED")
    agent_key = (stack.data / "agent" / "key").read_text().strip()
    refused(anonymous.get(url, headers={"Authorization": f"Token {agent_key}"}), 401)
    refused(anonymous.get("/metrics", headers={"Authorization": f"Token {metrics_key}"}), 404)
    refused(anonymous.get("/htc/metrics", headers={"Authorization": f"Bearer {metrics_key}"}), 401)
    assert '"/metrics"' not in json.dumps(ok(anonymous.get(f"{stack.root_url}/q/openapi")))
