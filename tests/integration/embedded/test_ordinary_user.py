"""The parts as a user who is not root, with a home of their own."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

USER, GROUP = "nobody", "nogroup"
AS_USER = ("setpriv", f"--reuid={USER}", f"--regid={GROUP}", "--clear-groups", "--")

START_ALL = """
import asyncio, os, sys
from openhtc.embedded.layout import default_data_directory
from openhtc.embedded.options import UpOptions
from openhtc.embedded.ports import choose
from openhtc.embedded.stack import Stack

async def main():
    stack = Stack(UpOptions(data=default_data_directory(), port=choose(set())), lambda event: None)
    try:
        await stack.start_foundation()
        for part in stack.parts.foundation.parts:
            pid = stack.supervisor.pid_of(part.name)
            print(part.name, os.stat(f"/proc/{pid}").st_uid, await part.check())
    finally:
        await stack.stop()

asyncio.run(main())
"""


@pytest.fixture
def home() -> Iterator[Path]:
    """A home that the user owns; pytest's own directories are closed to other users."""
    directory = Path(tempfile.mkdtemp(prefix="openhtc-user-"))
    shutil.chown(directory, USER, GROUP)
    yield directory
    shutil.rmtree(directory)


@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests run as an ordinary user already")
def test_an_ordinary_user_runs_everything_as_themselves(home: Path) -> None:
    interpreter = os.path.realpath(sys.executable)
    if subprocess.run([*AS_USER, "test", "-x", interpreter], check=False).returncode != 0:
        pytest.skip(f"{interpreter} is closed to other users")
    done = subprocess.run(
        [*AS_USER, sys.executable, "-c", START_ALL],
        env={"HOME": str(home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    uid = home.stat().st_uid
    assert done.stdout.splitlines() == [f"{name} {uid} None" for name in ("postgres", "s3", "registry")], (
        done.stderr
    )
    assert (home / ".local/share/openhtc").stat().st_mode & 0o777 == 0o700
