"""The supervisor with small real programs: restarts, order, patience, and the end of everything with it."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from openhtc.embedded.child import read_record
from openhtc.embedded.events import Happening
from openhtc.embedded.part import StopStep
from openhtc.embedded.supervised import PartFailedError
from openhtc.embedded.supervisor import Supervisor
from openhtc.lifecycle.identity import process_identity

from .conftest import ProgramPart, Recorder

READY_AND_WAIT = "import pathlib, sys, time; pathlib.Path(sys.argv[1]).touch(); time.sleep(600)"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + READY_AND_WAIT
LEAVES_A_CHILD = (
    "import subprocess, pathlib; child = subprocess.Popen(['sleep', '600']);"
    " pathlib.Path(sys.argv[1] + '.child').write_text(str(child.pid)); "
)


async def test_a_killed_program_is_started_again(tmp_path: Path, recorder: Recorder) -> None:
    supervisor = Supervisor(tmp_path, recorder)
    await supervisor.start_together(ProgramPart(tmp_path, READY_AND_WAIT))
    for count in (1, 2):
        former = supervisor.pid_of("program")
        assert former is not None
        os.kill(former, signal.SIGKILL)
        died = await recorder.wait_for(Happening.DIED, "program", count)
        assert died.text == "it was ended by signal 9"
        ready = await recorder.wait_for(Happening.READY, "program", count + 1)
        assert ready.pid == supervisor.pid_of("program") != former
    await supervisor.stop()
    assert process_identity(ready.pid or 0) is None
    assert read_record(tmp_path / "program.json") is None


async def test_a_program_that_ends_at_once_fails_with_the_end_of_its_log(
    tmp_path: Path, recorder: Recorder
) -> None:
    supervisor = Supervisor(tmp_path, recorder)
    with pytest.raises(PartFailedError) as failed:
        await supervisor.start_together(ProgramPart(tmp_path, "import sys; sys.exit('the disk is on fire')"))
    assert "program does not start: it ended with exit code 1" in failed.value.message
    assert "the disk is on fire" in failed.value.message
    await supervisor.stop()


async def test_a_program_that_never_gets_ready_is_ended(tmp_path: Path, recorder: Recorder) -> None:
    supervisor = Supervisor(tmp_path, recorder)
    part = ProgramPart(tmp_path, "import time; time.sleep(600)")
    part.start_seconds = 0.5
    with pytest.raises(PartFailedError, match=r"not ready after \d s: no file yet"):
        await supervisor.start_together(part)
    started = recorder.of(Happening.STARTING)[-1]
    assert process_identity(started.pid or 0) is None
    await supervisor.stop()


@pytest.mark.parametrize("ready_before", [True, False])
async def test_a_program_that_is_to_stay_down_stays_down(
    tmp_path: Path, recorder: Recorder, ready_before: bool
) -> None:
    """Also one that was told so before it was ready, at its first start and after it died."""
    go, seen = tmp_path / "go", tmp_path / "seen"
    script = (
        "import os, pathlib, signal, sys, time; me = pathlib.Path(sys.argv[1])\n"
        f"go, seen = pathlib.Path({str(go)!r}), pathlib.Path({str(seen)!r})\n"
        "if go.exists(): me.unlink(missing_ok=True); seen.touch(); sys.exit(10)\n"
        "me.touch(); time.sleep(600)"
    )
    part = ProgramPart(tmp_path, script)
    part.stays_down = frozenset({10})
    supervisor = Supervisor(tmp_path, recorder)
    if ready_before:
        await supervisor.start_together(part)
        go.touch()
        os.kill(supervisor.pid_of("program") or 0, signal.SIGKILL)
    else:
        go.touch()
        await supervisor.start_together(part)
    stopped = await recorder.wait_for(Happening.STOPPED, "program")
    assert stopped.text == "it was drained"
    assert len(recorder.of(Happening.READY)) == int(ready_before)
    seen.unlink()
    await asyncio.sleep(1)
    assert not seen.exists(), "it was started again"
    await supervisor.stop()


async def test_stages_stop_in_the_opposite_order(tmp_path: Path, recorder: Recorder) -> None:
    supervisor = Supervisor(tmp_path, recorder)
    for name in ("first", "second", "third"):
        await supervisor.start_together(ProgramPart(tmp_path, READY_AND_WAIT, name))
    await supervisor.stop()
    assert [event.part for event in recorder.of(Happening.STOPPED)] == ["third", "second", "first"]


async def test_a_deaf_program_is_killed_after_its_time(tmp_path: Path, recorder: Recorder) -> None:
    supervisor = Supervisor(tmp_path, recorder)
    part = ProgramPart(tmp_path, DEAF)
    part.stop_steps = (StopStep(signal.SIGTERM, 0.3),)
    await supervisor.start_together(part)
    await supervisor.stop()
    assert 0.3 <= recorder.of(Happening.STOPPED)[0].seconds < 5


async def test_asking_again_shortens_the_wait(tmp_path: Path, recorder: Recorder) -> None:
    supervisor = Supervisor(tmp_path, recorder)
    part = ProgramPart(tmp_path, DEAF)
    part.stop_steps = (StopStep(signal.SIGTERM, 300),)
    await supervisor.start_together(part)
    stopping = asyncio.create_task(supervisor.stop())
    await recorder.wait_for(Happening.STOPPING, "program")
    supervisor.hurry()
    await asyncio.wait_for(stopping, 20)
    assert recorder.of(Happening.STOPPED)[0].seconds < 20


async def test_what_a_program_leaves_behind_goes_with_it(tmp_path: Path, recorder: Recorder) -> None:
    supervisor = Supervisor(tmp_path, recorder)
    part = ProgramPart(tmp_path, "import sys; " + LEAVES_A_CHILD + READY_AND_WAIT)
    await supervisor.start_together(part)
    child = process_identity(int(Path(part.address + ".child").read_text()))
    assert child is not None
    await supervisor.stop()
    assert child.wait_gone(10)


SUPERVISE = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from conftest import ProgramPart
from openhtc.embedded.supervisor import Supervisor
async def main():
    directory = Path({directory!r})
    supervisor = Supervisor(directory, lambda event: None)
    await supervisor.start_together(ProgramPart(directory, {program!r}))
    print(supervisor.pid_of("program"), flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""


def supervise_elsewhere(directory: Path, program: str) -> subprocess.Popen[str]:
    code = SUPERVISE.format(tests=str(Path(__file__).parent), directory=str(directory), program=program)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def test_children_end_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    with supervise_elsewhere(tmp_path, READY_AND_WAIT) as supervisor:
        assert supervisor.stdout is not None
        child = process_identity(int(supervisor.stdout.readline()))
        assert child is not None
        supervisor.kill()
        supervisor.wait()
        assert child.wait_gone(10)


async def test_the_next_supervisor_ends_what_a_killed_one_left(tmp_path: Path, recorder: Recorder) -> None:
    part = ProgramPart(tmp_path, "import sys; " + LEAVES_A_CHILD + READY_AND_WAIT)
    with supervise_elsewhere(tmp_path, "import sys; " + LEAVES_A_CHILD + READY_AND_WAIT) as supervisor:
        assert supervisor.stdout is not None
        assert supervisor.stdout.readline()
        grandchild = process_identity(int(Path(part.address + ".child").read_text()))
        assert grandchild is not None
        supervisor.kill()
    assert grandchild.is_alive()
    Supervisor(tmp_path, recorder).end_leftovers([part])
    assert grandchild.wait_gone(10)
    assert len(recorder.of(Happening.LEFTOVER_ENDED, "program")) == 1
