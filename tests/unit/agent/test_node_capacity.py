"""What a node offers when its settings leave that open."""

import os
import shutil
import subprocess
import threading
from pathlib import Path
from typing import cast

import msgspec
import pytest

from openhtc.agent import leaser
from openhtc.agent.capacity import (
    DEFAULT_JOB_DISK_GIB,
    DISK_RESERVE_GIB,
    disk_warning,
    is_disk_low,
    machine_type,
    node_architecture,
    node_capacity,
)
from openhtc.agent.counts import Counts
from openhtc.agent.leaser import IDLE_WAIT_SECONDS
from openhtc.agent.local_queue import LocalQueue
from openhtc.agent.session import Session
from openhtc.domain.enums import Architecture
from openhtc.domain.work import Capacity, LeaseAnswer
from openhtc.lifecycle.stopping import Stop
from openhtc.settings.agent import AgentSettings

GIB = 1024**3


def settings(data_dir: Path, **changes: int) -> AgentSettings:
    return AgentSettings(server_url="http://127.0.0.1:8080", key="k", data_dir=data_dir, **changes)


def spare(data_dir: Path, cache: int) -> int:
    return max(0, shutil.disk_usage(data_dir).free // GIB - DISK_RESERVE_GIB - cache)


def test_every_vcpu_can_run_a_job_that_says_nothing_about_disk(tmp_path: Path) -> None:
    many = spare(tmp_path, 1) // DEFAULT_JOB_DISK_GIB + 5
    node = settings(tmp_path, vcpus=many, image_cache_gib=1)
    offered = node_capacity(node)
    assert offered.disk_gib == many * DEFAULT_JOB_DISK_GIB
    warning = disk_warning(node, offered)
    assert warning is not None
    assert f"promised {offered.disk_gib} GiB" in warning


def test_what_is_spare_is_offered_and_needs_no_warning(tmp_path: Path) -> None:
    node = settings(tmp_path, vcpus=1, image_cache_gib=1)
    if spare(tmp_path, 1) < DEFAULT_JOB_DISK_GIB:
        assert node_capacity(node).disk_gib == DEFAULT_JOB_DISK_GIB
    else:
        assert abs(node_capacity(node).disk_gib - spare(tmp_path, 1)) <= 1
        assert disk_warning(node, node_capacity(settings(tmp_path, vcpus=1, disk_gib=1))) is None


def test_the_operators_figure_wins(tmp_path: Path) -> None:
    assert node_capacity(settings(tmp_path, vcpus=64, disk_gib=3)).disk_gib == 3


def test_nodes_of_one_size_have_one_machine_type_until_the_operator_names_it(tmp_path: Path) -> None:
    node = settings(tmp_path, vcpus=8)
    own = node_architecture(node).value.lower()
    assert own in ("x86", "aarch64")
    assert machine_type(node, node_capacity(node)) == f"local-{own}-8"
    named = msgspec.structs.replace(node, machine_type="c7.large", provider="slurm")
    assert machine_type(named, node_capacity(named)) == "c7.large"


def test_a_node_with_accelerators_may_say_so(tmp_path: Path) -> None:
    node = msgspec.structs.replace(
        settings(tmp_path, vcpus=2), architecture=Architecture.A100, provider="slurm"
    )
    assert node_architecture(node) is Architecture.A100
    assert machine_type(node, node_capacity(node)) == "slurm-a100-2"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a small file system")
def test_a_disk_is_low_below_a_gibibyte(tmp_path: Path) -> None:
    small, roomy = tmp_path / "small", tmp_path / "roomy"
    for place, size in ((small, "1000m"), (roomy, "1100m")):
        place.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], check=True)
    try:
        assert is_disk_low(settings(small))
        assert not is_disk_low(settings(roomy))
    finally:
        for place in (small, roomy):
            subprocess.run(["umount", place], check=True)


class Server:
    """The far side of a lease request: it has no work, and says when it is asked."""

    def __init__(self) -> None:
        self.asked = threading.Event()

    def post(self, path: str, _request: object, _answer: object, wait_seconds: float) -> LeaseAnswer:
        assert (path, wait_seconds) == ("lease", IDLE_WAIT_SECONDS)
        self.asked.set()
        return LeaseAnswer([], [])


def test_a_node_with_a_low_disk_asks_for_no_work_until_something_is_freed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(leaser, "LOW_DISK_PAUSE", 0.01)
    server, stop, looks = Server(), Stop(), threading.Semaphore(0)
    low = threading.Event()
    low.set()

    def disk_low() -> bool:
        looks.release()
        return low.is_set()

    leasing = leaser.Leaser(
        cast(Session, server),
        LocalQueue(Capacity(1, 100, 1), slots=1),
        stop,
        Counts(),
        images=list,
        remaining_seconds=lambda: None,
        disk_low=disk_low,
        on_jobs=lambda jobs: None,
        on_refused=lambda refusal: None,
    )
    leasing.start()
    try:
        for _ in range(5):
            assert looks.acquire(timeout=10)
        assert not server.asked.is_set()
        low.clear()
        assert server.asked.wait(10)
    finally:
        stop.request()
        assert leasing.join(10)
