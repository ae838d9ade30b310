"""Limits, and telling from outside which one a job ran into."""

from openhtc.domain.work import Capacity

SMALL = Capacity(1, 64, 1)


def test_out_of_memory_is_counted(bench):
    ran = bench.run("tail", "/dev/zero", needs=SMALL)
    assert ran.exit.exit_code == 137
    assert ran.collected.oom_kills >= 1
    assert 60 <= ran.collected.usage.max_memory_mib <= 64


def test_a_plain_137_is_not_out_of_memory(bench):
    bench.run("tail", "/dev/zero", needs=SMALL)
    ran = bench.sh("exit 137", needs=SMALL)
    assert (ran.exit.exit_code, ran.collected.oom_kills) == (137, 0)
    assert ran.collected.usage.max_memory_mib < 40, "the peak of the job before is forgotten"


def test_a_child_out_of_memory_leaves_the_exit_code_to_the_program(bench):
    ran = bench.sh("tail /dev/zero; exit 3", needs=SMALL)
    assert ran.exit.exit_code == 3
    assert ran.collected.oom_kills == 1


def test_files_in_shared_memory_count_as_memory(bench):
    ran = bench.sh("dd if=/dev/zero of=/dev/shm/x bs=1M count=20; tail /dev/zero", needs=SMALL)
    assert ran.collected.oom_kills >= 1


def test_cpu_time_is_limited_and_counted(bench):
    spin = "timeout 2 sh -c 'while :; do :; done' & timeout 2 sh -c 'while :; do :; done' & wait"
    ran = bench.sh(spin, needs=Capacity(1, 64, 1))
    assert ran.seconds >= 1.9
    assert ran.collected.usage.cpu_ms <= ran.seconds * 1000 * 1.25


def test_the_number_of_processes_is_limited(bench, monkeypatch):
    for module in ("openhtc.agent.sandbox.slot", "openhtc.agent.native.slot"):
        monkeypatch.setattr(f"{module}.PIDS_PER_JOB", 20)
    ran = bench.sh("for i in $(seq 1 40); do sleep 5 & done; echo started; kill $(jobs -p)")
    assert "fork" in ran.output, ran.output


def test_the_disk_is_limited_and_full_is_told(bench):
    ran = bench.sh("dd if=/dev/zero of=/tmp/big bs=1M count=1200 2>&1 | grep -i 'no space'; exit 1")
    assert "No space left on device" in ran.output
    assert ran.collected.disk_full
    after = bench.sh("df -m / | tail -1 | awk '{print $4}'")
    assert int(after.output) >= 1024, "the next job finds its whole disk"
    assert not after.collected.disk_full


def test_a_job_gets_all_the_disk_it_asked_for(bench):
    ran = bench.sh("dd if=/dev/zero of=/big bs=1M count=1020")
    assert ran.exit.exit_code == 0, ran.output
    assert not ran.collected.disk_full


def test_the_disk_follows_the_jobs_wish(bench):
    assert int(bench.sh("df -m / | tail -1 | awk '{print $4}'", needs=Capacity(1, 64, 3)).output) >= 3 * 1024
    assert int(bench.sh("df -m / | tail -1 | awk '{print $4}'", needs=SMALL).output) < 1100
