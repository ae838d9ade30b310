"""When something was that a moved clock has told of."""

from pathlib import Path

import pytest
from faults.clock import Clock

from faults import clock as clocks


class Watch:
    def __init__(self) -> None:
        self.now = 1000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    watch = Watch()
    monkeypatch.setattr(clocks, "time", watch)
    return watch


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path / "clock")


def test_a_clock_is_moved_for_a_while(clock: Clock, tmp_path: Path, watch: Watch) -> None:
    file = tmp_path / "clock"
    assert file.read_text() == "+0.0s\n"
    with clock.moved(-40):
        assert file.read_text() == "-40.0s\n"
    assert file.read_text() == "+0.0s\n"


def test_what_it_told_while_it_was_fast_was_earlier(clock: Clock, watch: Watch) -> None:
    with clock.moved(60):
        watch.now += 5
    assert clock.earliest(1063) == 1003
    assert clock.earliest(1100) == 1100


def test_what_it_told_while_it_was_slow_may_have_been_before_or_then(clock: Clock, watch: Watch) -> None:
    with clock.moved(-60):
        watch.now += 5
    assert clock.earliest(943) == 943


def test_who_goes_by_it_looks_now_and_then_only(clock: Clock, watch: Watch) -> None:
    with clock.moved(60):
        watch.now += 5
    assert clock.earliest(1071) == 1011
