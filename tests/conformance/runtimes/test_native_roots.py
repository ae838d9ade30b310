"""The native runtime's root file systems: which job gets the one of the job before, and which gets a new one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from openhtc.agent.images.config import ImageConfig
from openhtc.agent.images.store import Image

sys.path.insert(0, str(Path(__file__).parent))
from native_bench import OneByOne
from workbench import Workbench, build_rootfs

MAPPED = """
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
int main(void)
{
    int file = open("/etc/hosts", O_RDWR);
    char *text = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (file < 0 || text == MAP_FAILED) return 1;
    memcpy(text, "6.6.6.6 ", 8);
    return 0;
}
"""


@pytest.fixture(scope="module")
def slot_name() -> str:
    return f"roots-{os.getpid()}"


@pytest.fixture
def bench(mode, sandbox, area: Path, tmp_path: Path, slot_name: str):
    """With an image that has a program of its own, which writes into /etc/hosts through a mapping."""
    rootfs = area / "rootfs-with-mapping"
    if not rootfs.exists():
        build_rootfs(rootfs, mode.ids.base)
        source = tmp_path / "mapped.c"
        source.write_text(MAPPED)
        compiler = shutil.which("cc") or shutil.which("gcc")
        assert compiler is not None
        subprocess.run([compiler, "-static", "-o", rootfs / "bin/mapped", source], check=True)
    image = Image("sha256:" + "1" * 64, rootfs, ImageConfig(), 0)
    slot = OneByOne(mode, sandbox, area, slot_name)
    yield Workbench(slot, slot, image, tmp_path, slot_name)
    slot.close()


def root_of(bench: Workbench) -> str:
    """The number of the root that the slot has now; empty when the last job took it with it."""
    layers = bench.slot.slot._directory / "scratch/disk/job"
    return "".join(path.name for path in layers.iterdir() if path.name.isdigit())


def settled(bench: Workbench) -> str:
    """The slot's root, once one has served two jobs: a job may begin too early to be told from our own changes."""
    for _ in range(20):
        assert bench.sh("true").exit.exit_code == 0
        before = root_of(bench)
        assert bench.sh("true").exit.exit_code == 0
        if before and root_of(bench) == before:
            return before
    raise AssertionError("no root served a second job")


@pytest.mark.parametrize(
    "script",
    ["true", "test -e /etc/ld.so.cache", "ls -lR /etc /dev /tmp", "cat /etc/hosts /etc/passwd", "ls -la /"],
)
def test_a_job_that_only_looks_leaves_its_root_to_the_next(bench: Workbench, script: str) -> None:
    before = settled(bench)
    bench.sh(script)
    assert root_of(bench) == before


@pytest.mark.parametrize(
    "script",
    [
        "echo x > /tmp/x",
        "echo x > /tmp/x; rm /tmp/x",
        "echo '6.6.6.6 api' >> /etc/hosts",
        "chmod 700 /etc",
        "touch /etc/hosts",
        "touch -a /etc/hosts",
        "rm /bin/ls",
        "echo >> /data/plain",
        "mkdir /data/owned/x",
        "ln /etc/passwd /data/link",
        "echo x > /dev/shm/x",
        "mapped",
    ],
)
def test_a_job_that_changes_anything_takes_its_root_with_it(bench: Workbench, script: str) -> None:
    before = settled(bench)
    ran = bench.sh(script)
    assert ran.exit.exit_code == 0, ran.output
    clean = bench.sh("cat /etc/hosts; ls /tmp /data /data/owned /dev/shm; stat -c %a /etc; ls /bin/ls")
    assert root_of(bench) != before
    assert "6.6.6.6" not in clean.output and "\nx\n" not in clean.output and "link" not in clean.output
    assert "755\n/bin/ls" in clean.output
