"""What agent and slot program say to each other while jobs run."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from openhtc.agent.native import frames
from openhtc.agent.native.frames import Kind, Stage
from openhtc.domain.work import Capacity

sys.path.insert(0, str(Path(__file__).parent))
from native_bench import OneByOne

SHM = 32 << 20
SECONDS = 20.0


class Talk:
    """The agent's end of a slot: says frames, keeps what it hears with its time."""

    def __init__(self, slot: OneByOne, rootfs: Path) -> None:
        self._slot, self._rootfs, self._reader = slot.slot, rootfs, frames.Reader()
        self.heard: list[tuple[float, int, int, bytes]] = []

    def run(self, job: int, script: str) -> bytes:
        words = [str(self._rootfs), "job", "/", "", "sh", "-c", script, "PATH=/bin"]
        head = frames.run_head(0, 0, (), 3, 1, SHM)
        return frames.run(job, head + b"".join(os.fsencode(word) + b"\0" for word in words))

    def say(self, *said: bytes) -> None:
        """All in one piece: the program reads them together."""
        assert self._slot.send(b"".join(said))

    def hear_until(self, enough: Callable[[], bool]) -> None:
        until = time.monotonic() + SECONDS
        while not enough():
            assert time.monotonic() < until, f"heard {self.heard[-5:]}"
            data = self._slot.receive(1 << 18)
            if data is None:
                time.sleep(0.001)
                continue
            assert data, "the program ended"
            self.heard += [(time.monotonic(), *frame) for frame in self._reader.feed(data)]

    def of(self, kind: Kind, job: int) -> list[tuple[float, bytes]]:
        return [(at, payload) for at, k, j, payload in self.heard if (k, j) == (kind, job)]

    def output(self, job: int) -> bytes:
        return b"".join(payload for _, payload in self.of(Kind.OUTPUT, job))

    def end(self, job: int) -> frames.Ended:
        self.hear_until(lambda: bool(self.of(Kind.ENDED, job)))
        return frames.ended(self.of(Kind.ENDED, job)[0][1])


@pytest.fixture
def talk(mode, sandbox, image, area: Path) -> Iterator[Talk]:
    slot = OneByOne(mode, sandbox, area, f"talk-{os.getpid()}")
    slot.slot.fit(Capacity(1, 128, 1))
    yield Talk(slot, image.rootfs)
    slot.close()


def test_a_signal_for_a_job_that_waits_does_not_hide_that_for_the_one_that_runs(talk: Talk) -> None:
    talk.say(talk.run(1, "trap 'echo told; exit 7' TERM; echo ready; while :; do sleep 0.01; done"))
    talk.hear_until(lambda: talk.output(1) == b"ready\n")
    talk.say(talk.run(2, "echo never"), frames.signal(1, signal.SIGTERM), frames.signal(2, signal.SIGTERM))
    assert talk.end(1).exit_code == 7
    assert talk.output(1) == b"ready\ntold\n"
    assert talk.end(2).stage is Stage.NOT_BEGUN
    assert talk.output(2) == b""


def test_the_start_of_a_job_that_prints_all_the_time_is_told(talk: Talk) -> None:
    talk.say(talk.run(1, "yes | head -c 300000000 > /dev/stdout"))
    talk.end(1)
    (started,) = talk.of(Kind.STARTED, 1)
    outputs = talk.of(Kind.OUTPUT, 1)
    assert sum(at < started[0] for at, _ in outputs) < len(outputs) / 4


def test_a_short_job_is_told_of_once(talk: Talk) -> None:
    for job in range(1, 20):
        talk.say(talk.run(job, "exit 3"))
        assert talk.end(job).exit_code == 3
    assert sum(bool(talk.of(Kind.STARTED, job)) for job in range(1, 20)) < 10
