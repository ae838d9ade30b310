"""Which services of the host's loopback a job may reach."""

import pytest

from openhtc.agent.forwards import forwards, local_endpoint
from openhtc.agent.sandbox.forwarder import Forward
from openhtc.settings.agent import AgentSettings


def settings(forward: list[str] | None = None) -> AgentSettings:
    return AgentSettings(server_url="http://127.0.0.1:8081", key="k", forward=forward)


def test_the_api_and_the_store_where_they_are_on_loopback() -> None:
    assert forwards(settings(), "http://127.0.0.1:8080/api/v1", "http://127.0.0.1:8333") == [
        Forward("127.0.0.1", 8080, "127.0.0.1", 8080),
        Forward("127.0.0.1", 8333, "127.0.0.1", 8333),
    ]
    assert forwards(settings(), "https://htc.example", "http://10.0.0.1:9000") == []


def test_the_same_service_once() -> None:
    assert len(forwards(settings(), "http://localhost:80", "http://127.0.0.1")) == 1


def test_the_settings_decide_when_they_say_something() -> None:
    assert forwards(settings([]), "http://127.0.0.1:8080", "http://127.0.0.1:8333") == []
    assert forwards(settings(["127.0.0.2:7"]), "http://h", "http://h") == [
        Forward("127.0.0.2", 7, "127.0.0.2", 7)
    ]


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("http://localhost", ("127.0.0.1", 80)),
        ("https://127.0.0.1", ("127.0.0.1", 443)),
        ("http://[::1]:9", ("::1", 9)),
        ("http://example.org:9", None),
    ],
)
def test_loopback(url: str, endpoint: tuple[str, int] | None) -> None:
    assert local_endpoint(url) == endpoint
