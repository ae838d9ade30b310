"""The database's time, told from a counter of this machine."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from openhtc.storage.clock import DatabaseClock

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass
class Apart:
    """A machine, a database, and the way between them: how long a question and an answer take."""

    there: float = 0.0
    question: float = 0.0002
    answer: float = 0.0002
    counter: float = 1000.0
    drift: float = 0.0
    clock: DatabaseClock = field(init=False)

    def __post_init__(self) -> None:
        self.clock = DatabaseClock(lambda: self.counter)

    def pass_time(self, seconds: float) -> None:
        self.counter += seconds
        self.there += seconds * (1 + self.drift)

    async def ask(self) -> datetime:
        self.pass_time(self.question)
        said = START + timedelta(seconds=self.there)
        self.pass_time(self.answer)
        return said

    async def look(self) -> None:
        await self.clock.look(self.ask)

    @property
    def error(self) -> float:
        return (self.clock() - START).total_seconds() - self.there


async def test_it_is_as_near_as_half_a_round_trip() -> None:
    apart = Apart(question=0.010, answer=0.002)
    await apart.look()
    assert abs(apart.error) <= 0.006
    apart.pass_time(100)
    assert abs(apart.error) <= 0.006


async def test_a_slow_way_once_takes_nothing_away() -> None:
    apart = Apart()
    await apart.look()
    apart.pass_time(5)
    apart.question = 2.0
    await apart.look()
    assert abs(apart.error) < 0.003
    assert not apart.clock.stepped_within(60)


async def test_it_follows_a_clock_that_runs_faster() -> None:
    apart = Apart(drift=0.0001)
    worst = 0.0
    for _ in range(2000):
        await apart.look()
        apart.pass_time(5)
        worst = max(worst, abs(apart.error))
    assert worst < 0.006
    assert not apart.clock.stepped_within(1e6)


@pytest.mark.parametrize("seconds", [-3600.0, -2.0, 2.0, 86_400.0])
async def test_it_follows_a_step_and_says_so_for_a_while(seconds: float) -> None:
    apart = Apart()
    await apart.look()
    apart.there += seconds
    apart.pass_time(5)
    await apart.look()
    assert abs(apart.error) < 0.001
    apart.pass_time(29)
    assert apart.clock.stepped_within(30)
    apart.pass_time(2)
    assert not apart.clock.stepped_within(30)


async def test_a_correction_of_milliseconds_is_no_step() -> None:
    apart = Apart()
    await apart.look()
    apart.there += 0.05
    apart.pass_time(5)
    await apart.look()
    assert abs(apart.error) < 0.001
    assert not apart.clock.stepped_within(60)


async def test_the_first_look_is_no_step() -> None:
    apart = Apart(there=-1e6)
    await apart.look()
    assert not apart.clock.stepped_within(60)


async def test_the_time_of_day_of_this_machine_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 12345.0)
    apart = Apart()
    await apart.look()
    assert abs(apart.error) < 0.001
