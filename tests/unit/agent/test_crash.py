"""A thread that crashes takes the agent with it."""

import threading
from collections.abc import Iterator

import pytest

from openhtc.agent.main import stop_on_crash
from openhtc.lifecycle.stopping import Stop


@pytest.fixture(autouse=True)
def hook() -> Iterator[None]:
    before = threading.excepthook
    yield
    threading.excepthook = before


def crash() -> None:
    raise RuntimeError("nobody foresaw this")


def test_a_crash_is_a_request_to_stop() -> None:
    stop = Stop()
    crashes = stop_on_crash(stop)
    thread = threading.Thread(target=crash, name="reporter")
    thread.start()
    assert stop.wait(10)
    thread.join()
    assert crashes == ["reporter"]
