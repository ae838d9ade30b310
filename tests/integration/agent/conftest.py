"""What the tests of the whole agent share. The parts are in the modules beside this file."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from openhtc.domain.work import ImageSource
from openhtc.embedded import ports

from .agent_far_side import AgentProcess, FarSide
from .agent_services import (
    LogBucket,
    end_process,
    push_busybox,
    run_program,
    serving,
    wait_until,
)


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImageSource]:
    """A registry that serves a busybox image."""
    directory = tmp_path_factory.mktemp("registry")
    port = ports.choose(set())
    config = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(directory / "data")}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    (directory / "config.yml").write_text(json.dumps(config))
    clean = {"PATH": os.environ["PATH"]}
    registry = run_program(
        ["docker-registry", "serve", str(directory / "config.yml")], directory / "log", clean
    )
    try:
        wait_until(lambda: serving(f"http://127.0.0.1:{port}/v2/"), state=(directory / "log").read_text)
        digest = push_busybox(directory, f"127.0.0.1:{port}/proj/busybox:1")
        yield ImageSource(f"http://127.0.0.1:{port}", "proj/busybox", digest, "")
    finally:
        end_process(registry)


@pytest.fixture(scope="session")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LogBucket]:
    bucket = LogBucket(tmp_path_factory.mktemp("s3"))
    yield bucket
    bucket.kill()


@pytest.fixture
def far(bucket: LogBucket) -> Iterator[FarSide]:
    far = FarSide(bucket)
    yield far
    far.close()


@pytest.fixture
def agent(far: FarSide) -> Iterator[AgentProcess]:
    """Not started yet. Its directory can be traversed by everyone, unlike pytest's own."""
    directory = Path(tempfile.mkdtemp(prefix="openhtc-agent-"))
    directory.chmod(0o711)
    agent = AgentProcess(directory, far.url)
    yield agent
    agent.end()
    print(agent.log.read_text()[-6000:] if agent.log.exists() else "no log")
    shutil.rmtree(directory, ignore_errors=True)
