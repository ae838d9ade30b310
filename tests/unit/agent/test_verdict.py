"""Why an attempt ended."""

import pytest

from openhtc.agent.runtimes.base import Exit
from openhtc.agent.verdict import judge
from openhtc.domain.enums import Outcome
from openhtc.domain.work import BatchWork, Capacity, ImageSource

WORK = BatchWork(
    batch=1,
    parent_job_id="p",
    image=ImageSource("", "", "", ""),
    commands=[],
    working_dir=None,
    envs=[],
    needs=Capacity(1, 64, 1),
    exec_timeout_seconds=60,
)


@pytest.mark.parametrize(
    ("end", "cause", "oom", "full", "outcome", "code", "words"),
    [
        (Exit(0), None, 0, False, Outcome.EXITED, 0, None),
        (Exit(3), None, 0, False, Outcome.EXITED, 3, None),
        (Exit(137), None, 0, False, Outcome.EXITED, 137, None),
        (Exit(137), None, 1, False, Outcome.OUT_OF_MEMORY, 137, "maxMemory, 64 MiB"),
        (Exit(3), None, 1, False, Outcome.EXITED, 3, None),
        (Exit(1), None, 0, True, Outcome.DISK_FULL, 1, "maxDiskGiB, 1 GiB"),
        (Exit(0), None, 0, True, Outcome.EXITED, 0, None),
        (Exit(143), Outcome.TIMED_OUT, 0, False, Outcome.TIMED_OUT, 143, "after 60 s"),
        (Exit(0), Outcome.TIMED_OUT, 0, False, Outcome.TIMED_OUT, 0, "execTimeoutSeconds"),
        (Exit(137), Outcome.CANCELLED, 0, False, Outcome.CANCELLED, 137, "on request"),
        (Exit(0), Outcome.HANDED_BACK, 0, False, Outcome.HANDED_BACK, 0, "leaving"),
        (Exit(143), Outcome.PREEMPTED, 0, False, Outcome.PREEMPTED, 143, "higher priority"),
        (Exit(137), Outcome.DISK_FULL, 0, True, Outcome.DISK_FULL, 137, "maxDiskGiB"),
        (Exit(127, start_error="no ls"), None, 0, False, Outcome.CANNOT_START, 127, "no ls"),
        (Exit(1, node_error="no ns"), Outcome.CANCELLED, 0, False, Outcome.NODE_FAULT, None, "no ns"),
    ],
)
def test_verdict(
    end: Exit,
    cause: Outcome | None,
    oom: int,
    full: bool,
    outcome: Outcome,
    code: int | None,
    words: str | None,
) -> None:
    verdict = judge(WORK, end, cause=cause, oom_kills=oom, disk_full=full)
    assert (verdict.outcome, verdict.exit_code) == (outcome, code)
    assert (words in verdict.reason) if words and verdict.reason else verdict.reason is words
    assert verdict.ran == (end.start_error is None and end.node_error is None)
