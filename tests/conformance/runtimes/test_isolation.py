"""What a job cannot see, reach or change."""

import os
import time
from pathlib import Path

import pytest


def test_no_capability_no_new_privileges_and_a_filter(bench):
    status = dict(
        line.split(":\t", 1)
        for line in bench.run("cat", "/proc/self/status").output.splitlines()
        if ":\t" in line
    )
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[name], 16) == 0, name
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"


def test_its_host_user_is_an_unprivileged_one(bench, mode, until):
    container = bench.start("sleep", "4323")
    try:
        until(lambda: _pids_of("4323"), lambda: "no such process")
        for pid in _pids_of("4323"):
            assert Path(f"/proc/{pid}").stat().st_uid == mode.ids.base
    finally:
        container.kill()
        bench.finish(container, time.monotonic())


def _pids_of(word: str) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if (path / "cmdline").read_bytes().split(b"\0")[:2] == [b"sleep", word.encode()]:
                found.append(int(path.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize(
    "attempt",
    [
        "mount -t tmpfs none /tmp",
        "mount -o remount,rw /sys",
        "umount /proc",
        "unshare -m true",
        "unshare -U true",
        "unshare -n true",
        "mknod /tmp/disk b 8 0",
        "echo 1 > /proc/sys/kernel/ctrl-alt-del",
        "echo core > /proc/sys/kernel/core_pattern",
        "echo b > /proc/sysrq-trigger",
        "echo 1 > /sys/devices/system/cpu/cpu0/online",
        "touch /sys/x",
        "touch /dev/x",
        "ls /sys/fs/cgroup",
        "ls /sys/kernel",
        "dmesg",
        "hostname other",
        "ip link set lo down",
        "ip link add d type dummy",
        "adjtimex -f 0",
        "chroot / true",
        "nice -n -5 true",
        "ping -c 1 -W 1 192.0.2.1",
        "nsenter -t 1 -m true",
        "head -c 1 /proc/kcore | grep -q .",
        "cat /proc/timer_list | grep -q .",
    ],
)
def test_a_command_that_needs_rights_is_refused(bench, attempt):
    ran = bench.sh(attempt)
    assert ran.exit.exit_code != 0, ran.output
    assert ran.exit.node_error is None and ran.exit.start_error is None


def test_it_sees_no_processes_but_its_own(bench):
    pids = [int(name) for name in bench.sh("cd /proc; echo [0-9]*").output.split()]
    assert len(pids) <= 3
    assert str(os.getpid()) not in bench.sh("cat /proc/[0-9]*/cmdline").output


def test_it_sees_no_files_of_the_host(bench, area):
    ran = bench.sh("ls /; cat /proc/self/mountinfo; ls /proc/self/root/")
    for name in ("home", "root", "boot", "work"):
        assert name not in ran.output.split("\n")
    assert bench.sh(f"ls {area} /var/tmp /run").exit.exit_code != 0


def test_it_inherits_no_descriptor_to_the_host(bench):
    leak = os.open("/etc/passwd", os.O_RDONLY)
    try:
        ran = bench.sh("readlink /proc/$$/fd/1; for f in /proc/$$/fd/*; do readlink $f; done")
    finally:
        os.close(leak)
    assert "/etc/passwd" not in ran.output
    # bubblewrap leaves the job the descriptor of its own user namespace: setns() is forbidden to it.
    output, *others = ran.output.split()
    others = [line for line in others if not line.startswith(("user:", "/dev/null", output))]
    assert others == []


def test_the_host_name_is_the_jobs(bench):
    assert bench.run("hostname").output == "job-0\n"


def test_it_has_a_session_of_its_own_and_no_terminal(bench):
    assert bench.sh("exec 2>/dev/null; echo x > /dev/tty").exit.exit_code != 0


def test_shared_memory_is_limited(bench):
    ran = bench.sh("dd if=/dev/zero of=/dev/shm/x bs=1M count=200")
    assert "No space left" in ran.output


def test_host_loopback_is_out_of_reach(bench):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        ran = bench.sh(f"echo x | nc -w 2 127.0.0.1 {port}")
        assert ran.exit.exit_code != 0
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()


def test_two_containers_do_not_see_each_other(bench_maker, until):
    one, two = bench_maker("one"), bench_maker("two")
    first = one.start("sh", "-c", "touch /tmp/of-one; nc -l -p 7777 & echo ready; sleep 1000")
    try:
        until(lambda: "ready" in one.output.read_text(), one.output.read_text)
        ran = two.sh(
            "ls /tmp; cat /proc/[0-9]*/cmdline; echo x | nc -w 2 127.0.0.1 7777 || echo refused; ipcs -a | tail -3"
        )
        assert "of-one" not in ran.output
        assert "sleep\x001000" not in ran.output
        assert "refused" in ran.output
    finally:
        first.kill()
        one.finish(first, time.monotonic())
