"""Workers that end begin again, and all of them end with the one who watches over them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PROGRAM = """
import os, pathlib, sys, time
from functools import partial
from openhtc.server import supervisor

def serve(place):
    pathlib.Path(place, str(os.getpid())).touch()
    if pathlib.Path(place, "fails").exists():
        sys.exit(1)
    time.sleep(60)

def begin(worker):
    if pathlib.Path(sys.argv[1], "full").exists():
        pathlib.Path(sys.argv[1], "tried").touch()
        raise BlockingIOError(11, "no process can be made")
    really_begin(worker)

if __name__ == "__main__":
    supervisor._PAUSE_SECONDS = 0.5
    really_begin, supervisor._Worker._begin = supervisor._Worker._begin, begin
    supervisor.supervise(2, partial(serve, sys.argv[1]))
"""


def pids(place: Path) -> set[int]:
    return {int(file.name) for file in place.iterdir() if file.name.isdigit()}


def until(wanted: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not wanted():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def place(tmp_path: Path) -> Path:
    place = tmp_path / "place"
    place.mkdir()
    return place


@pytest.fixture
def running(tmp_path: Path, place: Path) -> Iterator[subprocess.Popen[bytes]]:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    process = subprocess.Popen([sys.executable, str(program), str(place)])
    try:
        until(lambda: len(pids(place)) == 2)
        yield process
    finally:
        for pid in pids(place):
            if is_alive(pid):
                os.kill(pid, signal.SIGKILL)
        process.kill()
        process.wait()


def test_a_worker_that_was_killed_begins_again(place: Path, running: subprocess.Popen[bytes]) -> None:
    first, second = pids(place)
    os.kill(first, signal.SIGKILL)
    until(lambda: len(pids(place)) == 3)
    assert is_alive(second)


def test_a_worker_that_cannot_begin_is_not_tried_without_a_pause(
    place: Path, running: subprocess.Popen[bytes]
) -> None:
    (place / "fails").touch()
    for pid in pids(place):
        os.kill(pid, signal.SIGKILL)
    until(lambda: len(pids(place)) >= 4)
    before = len(pids(place))
    time.sleep(1.2)
    assert len(pids(place)) <= before + 6
    (place / "fails").unlink()
    until(lambda: sum(map(is_alive, pids(place))) == 2)


def test_a_machine_without_room_for_a_process_is_waited_for(
    place: Path, running: subprocess.Popen[bytes]
) -> None:
    (place / "full").touch()
    first = min(pids(place))
    os.kill(first, signal.SIGKILL)
    until((place / "tried").exists)
    assert running.poll() is None
    (place / "full").unlink()
    until(lambda: len(pids(place)) == 3)
    running.send_signal(signal.SIGTERM)
    assert running.wait(20) == 0


@pytest.mark.parametrize("ends", [signal.SIGTERM, signal.SIGINT])
def test_all_end_together(place: Path, running: subprocess.Popen[bytes], ends: signal.Signals) -> None:
    running.send_signal(ends)
    assert running.wait(20) == 0
    assert not any(map(is_alive, pids(place)))
