"""Notices of three clouds, from a metadata service of our own."""

import json
from collections.abc import Callable, Iterator

import pytest

from openhtc.agent.notice import watch
from openhtc.lifecycle.stopping import Stop

from ...metadata import Answer, Metadata, metadata_service

QUICK = 0.01
ACTION = '{"action": "terminate", "time": "2030-01-31T12:00:00Z"}'


@pytest.fixture
def metadata() -> Iterator[Metadata]:
    with metadata_service() as made:
        yield made


@pytest.fixture
def stop() -> Iterator[Stop]:
    made = Stop()
    yield made
    made.request()
    made.request()


def azure(*events: dict[str, object]) -> Callable[[str, str], Answer]:
    answers = {
        "/metadata/scheduledevents?api-version=2020-07-01": json.dumps(
            {"DocumentIncarnation": 2, "Events": list(events)}
        ),
        "/metadata/instance/compute/name?api-version=2021-02-01&format=text": "node-7",
    }
    return lambda method, path: (200, answers[path])


def aws(notice: Answer) -> Callable[[str, str], Answer]:
    answers = {
        ("PUT", "/latest/api/token"): (200, "hush"),
        ("GET", "/latest/meta-data/spot/instance-action"): notice,
    }
    return lambda method, path: answers[method, path]


def preempt(*names: str) -> dict[str, object]:
    return {"EventType": "Preempt", "Resources": list(names), "NotBefore": "Mon, 19 Sep 2030 18:29:47 GMT"}


CASES = [
    ("aws", {"X-aws-ec2-metadata-token": "hush"}, aws((404, "")), aws((200, ACTION))),
    ("gcp", {"Metadata-Flavor": "Google"}, lambda *_: (200, "FALSE"), lambda *_: (200, "TRUE\n")),
    ("azure", {"Metadata": "true"}, azure(preempt("node-8")), azure(preempt("node-8"), preempt("node-7"))),
]


@pytest.mark.parametrize(("cloud", "needs", "before", "after"), CASES, ids=[case[0] for case in CASES])
def test_a_notice_stops_the_agent_for_good(
    metadata: Metadata,
    stop: Stop,
    cloud: str,
    needs: dict[str, str],
    before: Callable[[str, str], Answer],
    after: Callable[[str, str], Answer],
) -> None:
    metadata.needs, metadata.answer = needs, before
    thread = watch(cloud, metadata.url, stop, QUICK)
    metadata.wait_for_more()
    assert not stop.requested
    metadata.answer = after
    thread.join(10)
    assert stop.requested and stop.drained
    assert not stop.patient and not stop.at_once
    stop.request()
    assert not stop.at_once, "the scheduler's SIGTERM comes about together with the notice"
    stop.request()
    assert stop.at_once


NO_NOTICE: list[tuple[str, Answer]] = [
    ("aws", (500, "")),
    ("gcp", (500, "TRUE")),
    ("gcp", (200, "<html>")),
    ("azure", (500, "")),
    ("azure", (200, "<html>")),
]


@pytest.mark.parametrize(("cloud", "answer"), NO_NOTICE)
def test_what_is_no_notice_stops_nobody(metadata: Metadata, stop: Stop, cloud: str, answer: Answer) -> None:
    metadata.answer = lambda method, path: answer
    thread = watch(cloud, metadata.url, stop, QUICK)
    metadata.wait_for_more()
    assert not stop.requested
    assert thread.is_alive()


def test_a_notice_after_a_request_hurries_nobody(metadata: Metadata, stop: Stop) -> None:
    metadata.answer = lambda method, path: (200, "TRUE")
    stop.request()
    watch("gcp", metadata.url, stop, QUICK).join(10)
    assert stop.drained and not stop.at_once


def test_a_token_that_is_none_ends_nobody(metadata: Metadata, stop: Stop) -> None:
    metadata.answer = lambda method, path: (200, "\u2603")
    thread = watch("aws", metadata.url, stop, QUICK)
    metadata.wait_for_more()
    assert thread.is_alive() and not stop.requested


def test_it_ends_with_an_agent_that_hurries(metadata: Metadata, stop: Stop) -> None:
    thread = watch("gcp", metadata.url, stop, 1000)
    stop.request()
    stop.request()
    thread.join(10)
    assert not thread.is_alive()
