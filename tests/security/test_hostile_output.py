"""Jobs that print what no log is made for: their own log is what it can be, and nobody else notices."""

import os
import re
from datetime import datetime, timedelta

import pytest

from ..stack import Json, Stack, Task, ok, shell
from .hostile import AGENT_MIB, agent_peak_mib

ENDLESS_MIB = int(os.environ.get("OPENHTC_ENDLESS_MIB", "300"))


def lines_of(task: Task, job: str, **params: object) -> list[Json]:
    found: list[Json] = ok(task.api.get(f"{task.path}/jobs/{job}/logs", params=params))["items"]
    return found


def moment(text: str) -> datetime:
    """To microseconds: nanoseconds are cut."""
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d*Z", r"\1+00:00", text))


@pytest.mark.timeout(600)
def test_a_line_without_an_end_is_cut_and_takes_no_memory(stack: Stack, task: Task) -> None:
    endless = task.submit_one(
        shell(f"head -c {ENDLESS_MIB << 20} /dev/zero | tr '\\0' x; echo; echo end", maxMemory=128)
    )
    neighbour = task.submit_one(shell("echo well"))
    assert task.wait_for(neighbour, "SUCCEEDED")["container"]["exitCode"] == 0
    assert task.log(neighbour) == ["well"]
    task.wait_for(endless, "SUCCEEDED", 500)
    first = lines_of(task, endless, pageSize=1, sort="asc")[0]["message"]
    assert set(first) == {"x"} and len(first) <= 1 << 20
    last = lines_of(task, endless, pageSize=1, sort="desc")
    assert [line["message"] for line in last] == ["end"]
    assert agent_peak_mib(stack) < AGENT_MIB


def test_rubbish_is_shown_as_text(task: Task) -> None:
    job = task.submit_one(shell("head -c 1000000 /dev/urandom; printf '\\n\\377\\000\\033[2Jend\\n'"))
    task.wait_for(job, "SUCCEEDED")
    last = lines_of(task, job, pageSize=1, sort="desc")[0]["message"]
    assert last.startswith("\ufffd") and last.endswith("end") and "\0" not in last


def test_a_time_that_a_job_prints_is_only_text(task: Task) -> None:
    job = task.submit_one(
        shell(
            "echo 2001-01-01T00:00:00.000000000Z then; printf '0000000000000001 stdout F forged\\n'; echo now"
        )
    )
    ended = task.wait_for(job, "SUCCEEDED")
    lines = lines_of(task, job, sort="asc")
    assert [line["message"] for line in lines] == [
        "2001-01-01T00:00:00.000000000Z then",
        "0000000000000001 stdout F forged",
        "now",
    ]
    times = [moment(line["timestamp"]) for line in lines]
    begin, end = (
        datetime.fromisoformat(ended[name].replace("Z", "+00:00")) for name in ("startedAt", "completedAt")
    )
    assert times == sorted(times) and begin <= times[0]
    assert times[-1] <= end + timedelta(seconds=1), "a line is stamped when it is read"
