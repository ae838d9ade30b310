"""A backup that follows a working service, and the service as it was at a moment in between."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from openhtc.backup.layout import BackupLayout

from ..stack import IMAGE, Api, Stack, Task, bearer_of, build_busybox, shell, wait_until

pytestmark = [pytest.mark.last, pytest.mark.timeout(300)]


@contextmanager
def service(data: Path | None = None) -> Iterator[Stack]:
    stack = Stack() if data is None else Stack(data=data)
    try:
        stack.up()
        yield stack
    finally:
        stack.destroy()


@contextmanager
def following(stack: Stack, directory: Path) -> Iterator[BackupLayout]:
    """`openhtc backup --follow` beside the block; it ends well."""
    words = ("backup", str(directory), "--follow", "--every", "1", "--data", str(stack.data))
    command = [sys.executable, "-m", "openhtc.cli.main", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        backup = BackupLayout(directory)
        try:
            wait_until(backup.reach_file.exists, bool, 60)
            yield backup
        finally:
            process.terminate()
            said = process.communicate(timeout=60)[0]
    assert process.returncode == 0, said
    assert "can be restored" in said


def refused(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "openhtc.cli.main", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stdout + done.stderr
    return done.stderr


def api_of(stack: Stack) -> Api:
    return Api(stack, bearer_of(stack, stack.credentials["api_key"]))


def complete_until_now(backup: BackupLayout) -> datetime:
    now = datetime.now(UTC)
    wait_until(lambda: backup.reach().until, lambda until: until > now, 30)
    return now


def test_any_moment_of_a_backup_can_be_restored(tmp_path: Path) -> None:
    with service() as stack, api_of(stack) as api:
        project = api.new_project("kept")
        api.push(project, build_busybox(tmp_path / "image"), IMAGE)
        task = api.new_task(project["projectId"], "kept")
        done_before = task.submit_one(shell("echo before"))
        task.wait_for(done_before, "SUCCEEDED")
        with following(stack, tmp_path / "backup") as backup:
            done = task.submit_one(shell("echo meanwhile"))
            running = task.submit_one(shell("echo attempt $AWS_BATCH_JOB_ATTEMPT; sleep 100"))
            task.wait_for(done, "SUCCEEDED")
            task.wait_for_line(running, "attempt 1")
            moment = complete_until_now(backup)
            time.sleep(0.5)
            task.cancel()
            later = task.submit_one(shell("echo later"))
            task.wait_for(later, "SUCCEEDED")
            complete_until_now(backup)
    asked = ("restore", str(backup.root), "--data", str(tmp_path / "nothing"))
    assert "is before the first moment" in refused(*asked, "--at", "2020-01-01T00:00:00Z")
    far = datetime.now(UTC) + timedelta(hours=1)
    assert "is after the last moment" in refused(*asked, "--at", far.isoformat())
    assert "has no time zone" in refused(*asked, "--at", "2020-01-01T00:00:00")
    assert not (tmp_path / "nothing").exists()

    with as_of(moment, backup, stack.port) as restored, api_of(restored) as api:
        then = Task(api, task.project_id, task.task_id)
        assert [then.log(job) for job in (done_before, done)] == [["before"], ["meanwhile"]]
        assert {job["jobUUID"] for job in then.jobs()} == {done_before, done, running}
        then.wait_for_line(running, "attempt 2")
        then.cancel()
        fresh = then.submit_one(shell("echo fresh"))
        then.wait_for(fresh, "SUCCEEDED")
        restored.command("verify", "--all")
    with as_of(None, backup, stack.port) as restored, api_of(restored) as api:
        last = Task(api, task.project_id, task.task_id)
        assert last.log(later) == ["later"]
        assert last.counts() == {**last.counts(), "SUCCEEDED": 3, "FAILED": 1, "RUNNING": 0}


@contextmanager
def as_of(moment: datetime | None, backup: BackupLayout, port: int) -> Iterator[Stack]:
    stack = Stack(port=port)
    words = ["restore", str(backup.root), *([] if moment is None else ["--at", moment.isoformat()])]
    stack.command(*words)
    assert "is not empty" in refused(*words, "--data", str(stack.data))
    try:
        stack.up()
        yield stack
    finally:
        stack.destroy()
