"""What is written for the version 2 interface, on an imitated directory tree: this needs no such kernel."""

from pathlib import Path

import pytest

from openhtc.agent.sandbox import cgroups, cgroups_v2
from openhtc.agent.sandbox.cgroups_v2 import CgroupV2


@pytest.fixture
def group(tmp_path: Path) -> Path:
    directory = tmp_path / "0"
    directory.mkdir()
    for name in ("cpu.max", "pids.max", "memory.max", "memory.swap.max", "cgroup.kill", "cgroup.procs"):
        (directory / name).write_text("")
    (directory / "memory.events").write_text("low 0\nmax 4\noom 2\noom_kill 2\noom_group_kill 0\n")
    (directory / "cpu.stat").write_text("usage_usec 5000000\nuser_usec 1\n")
    (directory / "memory.peak").write_text("1000000\n")
    (directory / "memory.current").write_text("500000\n")
    return directory


def test_limits(group):
    cgroup = CgroupV2(group)
    cgroup.limit(1.5, 512, 100)
    written = {
        name: (group / name).read_text() for name in ("cpu.max", "pids.max", "memory.max", "memory.swap.max")
    }
    assert written == {
        "cpu.max": "150000 100000",
        "pids.max": "100",
        "memory.max": str(512 << 20),
        "memory.swap.max": "0",
    }
    assert cgroup.procs_files() == (group / "cgroup.procs",)


def test_counters_are_those_of_one_job(group):
    cgroup = CgroupV2(group)
    cgroup.limit(1, 64, 10)
    (group / "memory.events").write_text("oom_kill 3\n")
    (group / "cpu.stat").write_text("usage_usec 6250000\n")
    (group / "memory.peak").write_text(f"{20 << 20}\n")
    assert cgroup.oom_kills() == 1
    assert cgroup.usage() == (1250, 20)
    cgroup.limit(1, 64, 10)
    assert cgroup.oom_kills() == 0
    assert cgroup.usage() == (0, 1), (
        "an old peak is not this job's: what it uses now is the best that is known"
    )


def test_kill_uses_the_kernels_own_way(group, monkeypatch):
    cgroup = CgroupV2(group)
    pids = iter([{1234567}, {1234567}, set[int]()])
    monkeypatch.setattr(cgroup, "_pids", lambda: next(pids))
    assert cgroup.kill_all()
    assert (group / "cgroup.kill").read_text() == "1"


def test_the_tree_is_found_below_our_own_group(tmp_path):
    own = tmp_path / "system.slice/agent.service"
    (own / "openhtc-x").mkdir(parents=True)
    (own / "openhtc-agent").mkdir()
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids io\n")
    for directory in (own, own / "openhtc-x"):
        (directory / "cgroup.controllers").write_text("cpu memory pids\n")
        (directory / "cgroup.subtree_control").write_text("")
        (directory / "cgroup.procs").write_text("")
    (own / "cgroup.procs").write_text("41\n42\n")
    (own / "openhtc-agent/cgroup.procs").write_text("")
    tree = cgroups_v2.find("openhtc-x", tmp_path, "/system.slice/agent.service")
    assert tree is not None
    assert tree.roots() == (own / "openhtc-x",)
    assert (own / "cgroup.subtree_control").read_text() == "+cpu +memory +pids"
    assert (own / "openhtc-agent/cgroup.procs").read_text() in ("41", "42"), "we moved into a leaf"


@pytest.mark.parametrize("controllers", ["", "hugetlb\n", "cpu memory\n"])
def test_a_tree_without_the_controllers_is_none(tmp_path, controllers):
    (tmp_path / "cgroup.controllers").write_text(controllers)
    (tmp_path / "cgroup.subtree_control").write_text("")
    (tmp_path / "openhtc-x").mkdir()
    (tmp_path / "openhtc-x/cgroup.controllers").write_text(controllers)
    (tmp_path / "openhtc-x/cgroup.subtree_control").write_text("")
    assert cgroups_v2.find("openhtc-x", tmp_path, "/") is None


def test_the_scope_is_the_data_directorys(tmp_path):
    assert cgroups.scope(tmp_path) == cgroups.scope(tmp_path / "x" / "..")
    assert cgroups.scope(tmp_path) != cgroups.scope(tmp_path / "x")
    assert cgroups.scope(tmp_path).startswith("openhtc-")
