"""A backup that follows a working service, and the service as it was at a moment in between."""

import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from openhtc.backup.layout import BackupLayout, RunLayout
from openhtc.embedded.s3 import BUCKET
from openhtc.objects.connection import blocking_client

from ..stack import IMAGE, Api, Stack, Task, bearer_of, build_busybox, shell, wait_until

ODD_KEY = "projects/odd\n key/two words?.txt"
"""As users may choose one."""

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
            wait_until(lambda: reach(backup), bool, 60)
            yield backup
        finally:
            process.terminate()
            said = process.communicate(timeout=60)[0]
    assert process.returncode == 0, said
    assert "can be restored" in said, said


def reach(backup: BackupLayout) -> datetime | None:
    """Until when it is complete."""
    runs = backup.runs.iterdir() if backup.runs.exists() else ()
    found = [stretch.until for run in runs if (stretch := RunLayout(run).stretch()) is not None]
    return max(found, default=None)


def refused(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "openhtc.cli.main", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stdout + done.stderr
    return done.stderr


def bucket(stack: Stack) -> Any:
    settings = tomllib.loads((stack.data / "server.toml").read_text())
    words = [settings[name] for name in ("s3_endpoint", "s3_region", "s3_access_key", "s3_secret_key")]
    return blocking_client(*words)


def put(stack: Stack, key: str, data: bytes) -> None:
    bucket(stack).put_object(Bucket=BUCKET, Key=key, Body=data)


def get(stack: Stack, key: str) -> bytes:
    found: bytes = bucket(stack).get_object(Bucket=BUCKET, Key=key)["Body"].read()
    return found


def api_of(stack: Stack) -> Api:
    return Api(stack, bearer_of(stack, stack.credentials["api_key"]))


def complete_until_now(backup: BackupLayout) -> datetime:
    now = datetime.now(UTC)
    wait_until(lambda: reach(backup), lambda until: until is not None and until > now, 30)
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
            put(stack, ODD_KEY, b"kept")
            later = task.submit_one(shell("echo later"))
            task.wait_for(later, "SUCCEEDED")
            task.wait_for(running, "FAILED")
            complete_until_now(backup)
    asked = ("restore", str(backup.root), "--data", str(tmp_path / "nothing"))
    assert "cannot be restored: the backup has 20" in refused(*asked, "--at", "2020-01-01T00:00:00Z")
    far = datetime.now(UTC) + timedelta(hours=1)
    assert "cannot be restored" in refused(*asked, "--at", far.isoformat())
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
        assert get(restored, ODD_KEY) == b"kept"
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
