"""One slot, many jobs: nothing stays behind."""

import contextlib
import gc
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from openhtc.agent.images.config import Identity
from openhtc.agent.sandbox import cgroups_v1


def _mounts() -> list[str]:
    return Path("/proc/self/mounts").read_text().splitlines()


def _descriptors() -> Counter[str]:
    """What this process holds open, by what each descriptor is; garbage of earlier tests is not held."""
    gc.collect()
    found: Counter[str] = Counter()
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - the listing's own descriptor is gone when it is read
        with contextlib.suppress(FileNotFoundError):
            found[os.readlink(f"/proc/self/fd/{name}")] += 1  # noqa: PTH115 - a name such as socket:[1] is no path
    return found


def _state(data: Path) -> Counter[str]:
    """Mounts, control groups and descriptors of ours, by name."""
    groups = (path for root in Path("/sys/fs/cgroup").glob("*") for path in root.glob("openhtc-*-runc-*"))
    return Counter([*(line for line in _mounts() if str(data) in line), *map(str, groups)]) + _descriptors()


def test_many_starts_leave_nothing(bench, area):
    bench.sh("true")
    bench.run("nosuch")
    before = _state(area)
    for _ in range(20):
        assert bench.sh("echo x > /tmp/x; mkdir -p /a/b/c; sleep 100 & exit 0").exit.exit_code == 0
    assert _state(area) - before == Counter()
    assert bench.sh("ls /tmp; ls /a").output == "ls: /a: No such file or directory\n"


def test_directories_that_resist_removal_are_removed(bench):
    deep = (
        "i=0; while [ $i -lt 1500 ]; do mkdir d && cd d || exit 1; i=$((i+1)); done; chmod 000 /tmp/d; exit 0"
    )
    assert bench.sh(f"cd /tmp; {deep}", workdir=None).exit.exit_code == 0
    assert bench.sh("ls -A /tmp").output == ""


def test_closing_a_slot_removes_its_groups_and_mounts(bench_maker, area):
    bench = bench_maker("short")
    bench.sh("true")
    assert list(Path("/sys/fs/cgroup").glob("*/openhtc-*/short"))
    bench.slot.close()
    assert not list(Path("/sys/fs/cgroup").glob("*/openhtc-*/short"))
    assert not [line for line in _mounts() if f"{area}/data/slots/short" in line]


def test_a_new_agent_ends_what_a_killed_one_left(bench, until):
    if not Path("/sys/fs/cgroup/memory").is_dir():
        pytest.skip("this machine has no version 1 hierarchies")
    import subprocess

    tree = cgroups_v1.find(f"openhtc-test-{os.getpid()}")
    assert tree is not None
    group = tree.group("left")
    child = subprocess.Popen(["sleep", "1000"])
    for file in group.procs_files():
        file.write_text(str(child.pid))
    again = cgroups_v1.find(f"openhtc-test-{os.getpid()}")
    assert again.sweep() == 1
    assert child.wait(10) == -9
    again.close()
    assert not any(root.exists() for root in tree.roots())


def test_slots_in_several_threads_do_not_mix(bench_maker, area):
    benches = [bench_maker(f"t{number}") for number in range(4)]

    def work(number: int) -> list[tuple[int, str]]:
        found = []
        for turn in range(10):
            who = Identity(number, number, (), "/")
            ran = benches[number].sh(
                f"echo $(id -u) {turn} > /tmp/x; cat /tmp/x; exit {number}", identity=who
            )
            found.append((ran.exit.exit_code, ran.output))
        return found

    with ThreadPoolExecutor(4) as pool:
        for number, found in enumerate(pool.map(work, range(4))):
            assert found == [(number, f"{number} {turn}\n") for turn in range(10)]
    assert (os.geteuid(), os.getegid()) == (0, 0)
    assert len({path.readlink() for path in Path("/proc/self/task").glob("*/ns/net")}) == 1
