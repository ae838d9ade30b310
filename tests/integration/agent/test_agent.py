"""The whole agent: real containers, real registry, real S3, the protocol's far side in this process."""

import os
import signal
from pathlib import Path

import psutil
import pytest

from openhtc.domain.enums import Outcome
from openhtc.domain.work import Capacity, ImageSource
from openhtc.lifecycle.stopping import DRAIN, EXIT_DRAINED

from ...metadata import metadata_service
from .agent_far_side import AgentProcess, FarSide
from .agent_services import wait_until

INDEX = "AWS_BATCH_JOB_ARRAY_INDEX"


def descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def mounts_below(directory: Path) -> list[str]:
    return [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(directory) in line]


@pytest.mark.parametrize("runtime", ["bubblewrap", "runc"])
def test_fifty_jobs_echo_their_index(
    far: FarSide, agent: AgentProcess, image: ImageSource, runtime: str
) -> None:
    script = (
        f'for i in $(seq 1 20); do echo "job ${INDEX} line $i"; done; echo err >&2; exit $(({INDEX} % 3))'
    )
    jobs = far.submit(image, ["sh", "-c", script], 50)
    agent.start(runtime=runtime)
    far.wait_ended(jobs)
    for job in jobs:
        assert job.end is not None
        assert (job.end.outcome, job.end.exit_code) == (Outcome.EXITED, job.index % 3)
        assert far.lines(job) == [f"job {job.index} line {i}" for i in range(1, 21)] + ["err"]
        assert job.end.started_at is not None
        assert job.end.ended_at is not None
        assert job.end.started_at <= job.end.ended_at
        assert job.attempts == 1
    objects = {chunk.key for job in jobs for chunk in job.chunks}
    assert len(objects) < len(jobs)


def test_environment_command_and_directory(far: FarSide, agent: AgentProcess, image: ImageSource) -> None:
    envs = [("FROM", "batch"), ("ONLY", "batch"), (INDEX, "overwritten")]
    [job] = far.submit(
        image, ["sh", "-c", f'echo "$FROM $ONLY ${INDEX} $HOME $PATH"; pwd'], envs=envs, working_dir="/tmp"
    )
    [plain] = far.submit(image, [])
    [dump] = far.submit(image, ["env"])
    agent.start()
    far.wait_ended([job, plain, dump])
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    assert far.lines(job) == [f"batch batch 0 /root {path}", "/tmp"]
    assert plain.end is not None
    assert (plain.end.exit_code, plain.chunks) == (0, [])
    names = {line.partition("=")[0] for line in far.lines(dump)}
    assert not {name for name in names if name.startswith("OPENHTC")}, "nothing of the agent's environment"


def test_limits_and_impossible_starts(far: FarSide, agent: AgentProcess, image: ImageSource) -> None:
    [slow] = far.submit(image, ["sh", "-c", "trap '' TERM; echo begun; sleep 1000"], timeout=1)
    [polite] = far.submit(image, ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done"], timeout=1)
    [missing] = far.submit(image, ["no-such-program"])
    nowhere = ImageSource(image.url, image.repository, "sha256:" + "0" * 64, "")
    [imageless] = far.submit(nowhere, ["true"])
    [nowhere_dir] = far.submit(image, ["true"], working_dir="/not/there")
    [greedy] = far.submit(image, ["sh", "-c", "dd if=/dev/zero of=/dev/null bs=500M count=1; exit $?"])
    [writer] = far.submit(image, ["sh", "-c", "dd if=/dev/zero of=/big bs=1M count=1100"])
    agent.start()
    far.wait_ended([slow, polite, missing, imageless, nowhere_dir, greedy, writer])
    expected = [
        (slow, Outcome.TIMED_OUT, "stopped after 1 s, the limit in execTimeoutSeconds"),
        (polite, Outcome.TIMED_OUT, "stopped after 1 s"),
        (missing, Outcome.CANNOT_START, "no-such-program"),
        (imageless, Outcome.CANNOT_START, ""),
        (nowhere_dir, Outcome.CANNOT_START, "/not/there"),
        (greedy, Outcome.OUT_OF_MEMORY, "used more than maxMemory, 64 MiB"),
        (writer, Outcome.DISK_FULL, "wrote more than maxDiskGiB, 1 GiB"),
    ]
    for job, outcome, words in expected:
        assert job.end is not None
        assert job.end.outcome is outcome, job.end
        assert words in (job.end.reason or ""), job.end
        assert (job.end.started_at is None) == (outcome is Outcome.CANNOT_START), job.end
    assert far.lines(slow) == ["begun"]


def test_a_cancelled_job_is_stopped(far: FarSide, agent: AgentProcess, image: ImageSource) -> None:
    [job] = far.submit(
        image, ["sh", "-c", "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.1; done"]
    )
    agent.start()
    wait_until(lambda: job.chunks, 30, lambda: agent.log.read_text()[-3000:])
    job.cancel = True
    far.wait_ended([job], 15)
    assert job.end is not None
    assert job.end.outcome is Outcome.CANCELLED
    assert far.lines(job) == ["up", "bye"]


def test_a_gone_lease_ends_its_job_silently(far: FarSide, agent: AgentProcess, image: ImageSource) -> None:
    [job] = far.submit(image, ["sh", "-c", "echo up; sleep 1000"])
    agent.start()
    wait_until(lambda: job.chunks, 30, lambda: agent.log.read_text()[-3000:])
    far.leases.clear()
    wait_until(lambda: agent.status().get("running") == 0, 15)
    assert job.ends == []


def test_sigterm_hands_back_what_cannot_end_in_time(
    far: FarSide, agent: AgentProcess, image: ImageSource
) -> None:
    jobs = far.submit(image, ["sh", "-c", "echo up; sleep 1000"], 3)
    [short] = far.submit(image, ["sh", "-c", "echo up; sleep 1.5; echo done"])
    agent.start(stop_grace_seconds="3")
    wait_until(lambda: all(job.chunks for job in [*jobs, short]), 30, lambda: agent.log.read_text()[-3000:])
    agent.signal(signal.SIGTERM)
    assert agent.wait() == 0
    assert far.stopping
    assert [job.ends[0].outcome for job in jobs] == [Outcome.HANDED_BACK] * 3
    assert short.end is not None
    assert short.end.outcome is Outcome.EXITED
    assert far.lines(short) == ["up", "done"]
    assert far.leases == {}
    assert not agent.status_file.exists()
    assert list((agent.directory / "data/journal").iterdir()) == []
    assert mounts_below(agent.directory) == []


def test_a_drained_agent_ends_after_its_jobs_and_takes_no_more(
    far: FarSide, agent: AgentProcess, image: ImageSource
) -> None:
    [running] = far.submit(image, ["sh", "-c", "echo up; sleep 4; echo done"])
    agent.start(stop_grace_seconds="0")
    wait_until(lambda: running.chunks, 30, lambda: agent.log.read_text()[-3000:])
    agent.signal(DRAIN)
    wait_until(lambda: far.stopping)
    [later] = far.submit(image, ["echo", "later"])
    assert agent.wait() == EXIT_DRAINED
    assert running.end is not None and running.end.outcome is Outcome.EXITED
    assert far.lines(running) == ["up", "done"]
    assert later.ends == [] and not later.chunks


def test_a_sigterm_shortens_a_drain(far: FarSide, agent: AgentProcess, image: ImageSource) -> None:
    [job] = far.submit(image, ["sh", "-c", "echo up; sleep 1000"])
    agent.start(stop_grace_seconds="0.5")
    wait_until(lambda: job.chunks, 30, lambda: agent.log.read_text()[-3000:])
    agent.signal(DRAIN)
    wait_until(lambda: far.stopping)
    agent.signal(signal.SIGTERM)
    assert agent.wait(20) == EXIT_DRAINED
    assert job.ends[0].outcome is Outcome.HANDED_BACK


def test_a_spot_notice_hands_back_and_is_the_end_of_the_node(
    far: FarSide, agent: AgentProcess, image: ImageSource
) -> None:
    [job] = far.submit(image, ["sh", "-c", "echo up; sleep 1000"])
    with metadata_service() as metadata:
        metadata.answer = lambda method, path: (200, "FALSE")
        agent.start(stop_grace_seconds="0.5", spot_notice="gcp", metadata_url=metadata.url)
        wait_until(lambda: job.chunks and metadata.asked, 30, lambda: agent.log.read_text()[-3000:])
        assert not far.stopping
        metadata.answer = lambda method, path: (200, "TRUE")
        assert agent.wait(20) == EXIT_DRAINED
    assert far.stopping
    assert job.ends[0].outcome is Outcome.HANDED_BACK


def test_a_second_sigterm_stops_at_once(far: FarSide, agent: AgentProcess, image: ImageSource) -> None:
    [job] = far.submit(image, ["sh", "-c", "trap '' TERM; echo up; while :; do sleep 1; done"])
    agent.start(stop_grace_seconds="1000")
    wait_until(lambda: job.chunks, 30, lambda: agent.log.read_text()[-3000:])
    agent.signal(signal.SIGTERM)
    wait_until(lambda: far.stopping)
    agent.signal(signal.SIGTERM)
    assert agent.wait(15) == 0
    assert job.ends[0].outcome is Outcome.HANDED_BACK


def test_a_killed_agent_leaves_nothing_and_its_successor_tells_what_it_did(
    far: FarSide, agent: AgentProcess, image: ImageSource
) -> None:
    far.keep_leases = True
    far.fail["report"] = 503
    done = far.submit(image, ["echo", "done"], 5)
    [running] = far.submit(image, ["sleep", "1000"])
    agent.start()
    segments = agent.directory / "data/journal"
    wait_until(
        lambda: (
            segments.exists() and sum(path.read_bytes().count(b"EXITED") for path in segments.iterdir()) == 5
        ),
        30,
        lambda: agent.log.read_text()[-3000:],
    )
    wait_until(lambda: agent.status().get("running") == 1)
    assert agent.process is not None
    processes = descendants(agent.process.pid)
    assert processes
    agent.signal(signal.SIGKILL)
    agent.process.wait()
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert alive == []
    assert mounts_below(agent.directory) == []
    far.fail.clear()
    far.leases = {lease: job for lease, job in far.leases.items() if job is not running}
    far.queue.append(running)
    agent.start()
    far.wait_ended(done)
    assert [job.attempts for job in done] == [1] * 5
    assert [far.lines(job) for job in done] == [["done"]] * 5
    wait_until(lambda: running.attempts == 2)


def test_a_server_that_is_away_for_a_while_costs_nothing(
    far: FarSide, agent: AgentProcess, image: ImageSource
) -> None:
    jobs = far.submit(image, ["sh", "-c", "echo one; sleep 2; echo two"], 4)
    agent.start()
    wait_until(lambda: all(job.chunks for job in jobs), 30, lambda: agent.log.read_text()[-3000:])
    far.fail.update({"report": 503, "lease": 503, "renew": 503})
    wait_until(lambda: agent.status().get("running") == 0)
    assert not any(job.ends for job in jobs)
    far.keep_leases = True
    far.token = "restarted"
    far.fail.clear()
    far.wait_ended(jobs)
    assert [(job.attempts, far.lines(job)) for job in jobs] == [(1, ["one", "two"])] * 4
    assert far.agent == 2, "a new session"


def test_a_job_reaches_the_forwarded_services_only(
    far: FarSide, agent: AgentProcess, image: ImageSource
) -> None:
    host, port = far.url.removeprefix("http://").split(":")
    registry = image.url.rpartition(":")[2]
    [reached] = far.submit(image, ["sh", "-c", f"busybox nc {host} {port} </dev/null && echo reached"])
    [refused] = far.submit(image, ["sh", "-c", f"busybox nc {host} {registry} </dev/null || echo refused"])
    agent.start()
    far.wait_ended([reached, refused])
    assert far.lines(reached)[-1] == "reached"
    assert far.lines(refused)[-1] == "refused"


def test_a_refused_agent_stops_with_an_error(far: FarSide, agent: AgentProcess) -> None:
    agent.start(key="wrong")
    assert agent.wait() == 1
    assert "the agent key is not valid" in agent.log.read_text()


def test_two_agents_do_not_share_a_directory(far: FarSide, agent: AgentProcess, tmp_path: Path) -> None:
    agent.start()
    wait_until(agent.status_file.exists, 30, lambda: agent.log.read_text()[-3000:])
    other = AgentProcess(tmp_path, far.url)
    other.start(data_dir=str(agent.directory / "data"))
    assert other.wait() == 1
    assert "is in use by another agent" in other.log.read_text()


def test_a_bundle_waits_here_only_while_jobs_are_short(
    far: FarSide, agent: AgentProcess, image: ImageSource
) -> None:
    short = far.submit(image, ["true"], 200, needs=Capacity(1, 16, 0))
    agent.start()
    far.wait_ended(short)
    assert max(request.max_jobs for request in far.lease_requests) > 4
    long = far.submit(image, ["sleep", "1000"], 30, needs=Capacity(1, 16, 0))
    wait_until(
        lambda: (
            sum(job.lease is not None for job in long) == 4
            and sum(job.started for job in long if job.lease is not None) == 4
        ),
        30,
        lambda: (os.getpid(), [(job.lease, job.started, job.ends) for job in long]),
    )


def test_what_cannot_be_told_waits_for_the_next_start(
    far: FarSide, agent: AgentProcess, image: ImageSource
) -> None:
    """The server is away when the agent has to go, and a second SIGTERM makes it hurry."""
    far.keep_leases = True
    jobs = far.submit(image, ["echo", "said"], 3)
    far.fail["report"] = 503
    agent.start()
    wait_until(
        lambda: agent.status().get("unreported") == 6,
        30,
        lambda: agent.log.read_text()[-3000:],
    )
    agent.signal(signal.SIGTERM)
    wait_until(lambda: agent.status()["stopping"])
    agent.signal(signal.SIGTERM)
    assert agent.wait(9) == 0
    far.fail.clear()
    agent.start()
    far.wait_ended(jobs)
    assert [(job.attempts, far.lines(job)) for job in jobs] == [(1, ["said"])] * 3
