"""The SDK's part of the work: tokens, retries, pages, errors. The service is a function behind httpx."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import stamina

from openhtc.client import HtcClient, HtcError, JobBatch, JobDefinition, Pair, read_credentials
from openhtc.domain.enums import JobStatus, ViewType
from openhtc.domain.errors import SettingsError

BASE = "http://127.0.0.1:8080/api/v1"
Answer = Callable[[httpx.Request], httpx.Response]


class Service:
    """Answers token requests itself and everything else with the given function; keeps what it was asked."""

    def __init__(self, answer: Answer, expires_in: int = 21600) -> None:
        self.asked: list[httpx.Request] = []
        self.tokens = 0
        self._answer = answer
        self._expires_in = expires_in

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/v1/auth/token":
            if request.headers["Authorization"] != "Token key":
                return httpx.Response(401, json={"error": "UNAUTHORIZED", "errorDescription": "no such key"})
            self.tokens += 1
            return httpx.Response(200, json={"tokenValue": f"t{self.tokens}", "expiresIn": self._expires_in})
        self.asked.append(request)
        return self._answer(request)

    def client(self, key: str = "key") -> HtcClient:
        return HtcClient(BASE, key, transport=httpx.MockTransport(self))


@pytest.fixture(autouse=True)
def no_waiting_between_attempts() -> Any:
    with stamina.set_testing(True, attempts=4):
        yield


def summary(**counts: int) -> dict[str, Any]:
    names = ["SUBMITTED_TO_RESCALE", "RUNNABLE", "RUNNING", "SUCCEEDED", "FAILED"]
    return {"group": None, "jobStatuses": {name: counts.get(name.lower(), 0) for name in names}}


def test_one_token_serves_many_requests() -> None:
    service = Service(lambda _: httpx.Response(200, json=summary(succeeded=3, failed=1, running=2)))
    with service.client() as client:
        for _ in range(5):
            found = client.summary("p", "t")
    assert service.tokens == 1
    assert {request.headers["Authorization"] for request in service.asked} == {"Bearer t1"}
    assert service.asked[0].url.path == "/api/v1/htc/projects/p/tasks/t/summary-statistics"
    assert (found.total, found.finished, found.unfinished, found.succeeded) == (6, 4, 2, 3)


def test_a_token_near_its_end_and_a_refused_one_are_renewed() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.headers["Authorization"] == "Bearer t1":
            return httpx.Response(401, json={"error": "UNAUTHORIZED"})
        return httpx.Response(200, json=summary())

    service = Service(answer)
    with service.client() as client:
        client.summary("p", "t")
    assert service.tokens == 2


def test_a_wrong_key_is_said_at_once() -> None:
    service = Service(lambda _: httpx.Response(200, json=summary()))
    with service.client("wrong") as client, pytest.raises(HtcError, match="no such key") as refused:
        client.summary("p", "t")
    assert (refused.value.status, refused.value.code) == (401, "UNAUTHORIZED")
    assert service.asked == []


@pytest.mark.parametrize("trouble", [502, 503, 504, httpx.ConnectError("no"), httpx.ReadTimeout("slow")])
def test_reading_is_repeated_after_passing_trouble(trouble: int | Exception) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        if len(service.asked) < 3:
            if isinstance(trouble, Exception):
                raise trouble
            return httpx.Response(trouble)
        return httpx.Response(200, json=summary())

    service = Service(answer)
    with service.client() as client:
        client.summary("p", "t")
    assert len(service.asked) == 3


@pytest.mark.parametrize("trouble", [503, httpx.ReadTimeout("slow")])
def test_a_submission_that_may_have_arrived_is_not_repeated(trouble: int | Exception) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        if isinstance(trouble, Exception):
            raise trouble
        return httpx.Response(trouble)

    service = Service(answer)
    batch = JobBatch(htc_job_definition=JobDefinition(image_name="a:1"))
    with service.client() as client, pytest.raises(HtcError):
        client.submit("p", "t", [batch])
    assert len(service.asked) == 1


def test_an_unreachable_service_is_named() -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("connection refused")

    service = Service(answer)
    with service.client() as client, pytest.raises(HtcError, match="connection refused") as refused:
        client.summary("p", "t")
    assert (refused.value.status, refused.value.code) == (0, "UNREACHABLE")
    assert len(service.asked) == 4


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ({"error": "A", "errorType": "B", "errorDescription": "C", "message": None}, "B", "C"),
        ({"error": "A", "message": "C"}, "A", "C"),
        ({}, "HTTP_400", "answered 400"),
        ("<html>proxy</html>", "HTTP_400", "proxy"),
        (["x"], "HTTP_400", "x"),
    ],
)
def test_refusals_keep_code_and_text(body: Any, code: str, message: str) -> None:
    content = body if isinstance(body, str) else json.dumps(body)
    service = Service(lambda _: httpx.Response(400, content=content))
    with service.client() as client, pytest.raises(HtcError, match=message) as refused:
        client.create_task("p", "t")
    assert (refused.value.status, refused.value.code) == (400, code)


def test_something_else_at_the_address_is_an_error_of_ours() -> None:
    service = Service(lambda _: httpx.Response(200, content="<html>hello"))
    with service.client() as client, pytest.raises(HtcError, match="not what was expected"):
        client.task("p", "t")


def job(index: int) -> dict[str, Any]:
    return {
        "jobUUID": f"a:{index}",
        "status": "SUCCEEDED",
        "createdAt": "2026-01-02T03:04:05.123456Z",
        "startedAt": None,
        "completedAt": None,
        "failureCode": None,
        "container": {"exitCode": 0, "reason": "x"},
        "statusReason": None,
        "somethingNew": [1],
    }


def test_listings_follow_the_next_link_with_its_own_parameters() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        page = int(request.url.params.get("pageIndex", "0"))
        body: dict[str, Any] = {"items": [job(page * 2), job(page * 2 + 1)]}
        if page < 2:
            body["next"] = f"{BASE}/htc/projects/p/tasks/t/jobs?pageIndex={page + 1}&group=g"
        return httpx.Response(200, json=body)

    service = Service(answer)
    with service.client() as client:
        found = list(client.jobs("p", "t", group="g", status=JobStatus.SUCCEEDED, view=ViewType.SIMPLE))
    assert [each.index for each in found] == list(range(6))
    first = service.asked[0].url.params
    assert (first["group"], first["status"], first["viewType"]) == ("g", "SUCCEEDED", "SIMPLE")
    assert dict(service.asked[2].url.params) == {"pageIndex": "2", "group": "g"}


def test_a_next_link_to_another_service_does_not_get_our_token() -> None:
    body = {"items": [job(0)], "next": "http://example.org/api/v1/x?pageIndex=1"}
    service = Service(lambda _: httpx.Response(200, json=body))
    with service.client() as client, pytest.raises(HtcError, match="another service"):
        list(client.jobs("p", "t"))
    assert len(service.asked) == 1


def test_a_submission_has_the_apis_names_and_leaves_out_what_was_not_said() -> None:
    answer = [{"parentJobId": "a", "batchSize": 3, "group": "g", "htcJobDefinition": {"imageName": "a:1"}}]
    service = Service(lambda _: httpx.Response(200, json=answer))
    definition = JobDefinition(image_name="a:1", max_vcpus=2, max_disk_gib=1, envs=[Pair("A", "b")])
    with service.client() as client:
        batch = JobBatch(htc_job_definition=definition, batch_size=3)
        submitted = client.submit("p", "t", [batch], group="g")
    assert submitted[0].parent_job_id == "a"
    assert service.asked[0].url.params["group"] == "g"
    assert json.loads(service.asked[0].content) == [
        {
            "batchSize": 3,
            "htcJobDefinition": {
                "imageName": "a:1",
                "maxVCpus": 2,
                "maxDiskGiB": 1,
                "envs": [{"name": "A", "value": "b"}],
            },
        }
    ]


def test_ids_and_names_are_escaped_in_paths() -> None:
    service = Service(lambda _: httpx.Response(404, json={"error": "IMAGE_UNAVAILABLE", "message": "none"}))
    with service.client() as client, pytest.raises(HtcError) as refused:
        client.image_status("p/../q", "team/app:v1")
    assert refused.value.code == "IMAGE_UNAVAILABLE"
    assert service.asked[0].url.raw_path.endswith(
        b"/projects/p%2F..%2Fq/container-registry/images/team/app:v1"
    )


def test_credentials_file(tmp_path: Path) -> None:
    path = tmp_path / "credentials.json"
    path.write_text(json.dumps({"base_url": BASE, "api_key": "key", "workspace_id": "w", "other": 1}))
    found = read_credentials(path)
    assert (found.base_url, found.api_key) == (BASE, "key")
    assert "key" not in repr(found).replace("api_key", "")
    with pytest.raises(SettingsError, match="cannot be read"):
        HtcClient.from_credentials(tmp_path / "none")
    path.write_text("{}")
    with pytest.raises(SettingsError, match="no credentials file"):
        HtcClient.from_credentials(path)
