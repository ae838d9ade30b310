"""How a container starts and ends, the same under every runtime."""

import signal
import time

import pytest

from openhtc.agent.images.config import Identity

WORKER = Identity(1000, 1001, (50, 60), "/home/worker")


@pytest.mark.parametrize("code", [0, 1, 3, 126, 127, 255])
def test_the_exit_code_is_the_programs_own(bench, code):
    ran = bench.sh(f"exit {code}")
    assert ran.exit.exit_code == code
    assert ran.exit.start_error is None and ran.exit.node_error is None


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_death_by_a_signal_is_128_and_its_number(bench, number):
    # A shell below the first process: process 1 of a namespace is spared its own signals.
    ran = bench.sh(f"sh -c 'kill -{int(number)} $$'; exit $?")
    assert ran.exit.exit_code == 128 + number


def test_output_and_errors_come_in_the_order_written(bench):
    ran = bench.sh("for i in 1 2 3; do echo out $i; echo err $i >&2; done")
    assert ran.output.splitlines() == [f"{where} {i}" for i in (1, 2, 3) for where in ("out", "err")]


def test_standard_input_is_empty(bench):
    assert bench.run("cat").exit.exit_code == 0


def test_large_output_is_whole(bench):
    ran = bench.sh("dd if=/dev/zero bs=1M count=64 2>/dev/null | tr '\\0' x")
    assert len(ran.output) == 64 << 20
    assert set(ran.output) == {"x"}


def test_the_environment_is_what_was_asked_for_and_nothing_else(bench, monkeypatch):
    monkeypatch.setenv("SECRET_OF_THE_HOST", "1")
    wanted = (
        ("PATH", "/bin"),
        ("HOME", "/"),
        ("EMPTY", ""),
        ("ODD", "a=b c\n'\"$x"),
        ("LD_PRELOAD", "/nowhere.so"),
    )
    ran = bench.sh("cat /proc/self/environ", env=wanted)
    entries = dict(entry.partition("=")[::2] for entry in ran.output.split("\0") if entry)
    assert {name: entries.pop(name) for name, _ in wanted} == dict(wanted)
    # The shell counts its depth; PWD tells no more than what was asked for.
    assert entries.pop("PWD", "/") == "/"
    assert set(entries) <= {"SHLVL", "OLDPWD", "_"}


def test_secrets_do_not_stand_on_a_command_line(bench, until):
    env = (("PATH", "/bin"), ("TOKEN", "hush-92837465"))
    container = bench.start("sleep", "1000", env=env)
    try:
        lines = _command_lines()
        assert "hush-92837465" not in lines
        until(lambda: "sleep" in _command_lines(), _command_lines)
        assert "hush-92837465" not in _command_lines()
    finally:
        container.kill()
        bench.finish(container, time.monotonic())


def _command_lines() -> str:
    import pathlib

    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_text(errors="replace").replace("\0", " "))
        except OSError:
            continue
    return "\n".join(found)


def test_working_directory(bench):
    assert bench.run("pwd", cwd="/data").output == "/data\n"


def test_the_images_working_directory_is_made_for_its_user(bench):
    ran = bench.sh("pwd; touch mine && echo yes", cwd="/srv/run", workdir="/srv/run", identity=WORKER)
    assert ran.output == "/srv/run\nyes\n"


def test_user_and_groups(bench):
    ran = bench.sh("id -u; id -g; id -G", identity=WORKER)
    uid, gid, groups = ran.output.splitlines()
    assert (uid, gid) == ("1000", "1001")
    assert set(groups.split()) == {"1001", "50", "60"}


def test_files_belong_to_whom_they_belong_to_in_the_image(bench):
    ran = bench.sh(
        "stat -c %u:%g /bin/busybox; touch /tmp/x; stat -c %u:%g /tmp/x; touch /bin/x", identity=WORKER
    )
    assert ran.output.splitlines()[:2] == ["0:0", "1000:1001"]
    assert "Permission denied" in ran.output


def test_root_in_the_container_owns_the_image_but_changes_only_its_own_copy(bench):
    assert bench.sh("rm /etc/group && echo x > /bin/new").exit.exit_code == 0
    assert bench.sh("cat /etc/group && ! ls /bin/new").exit.exit_code == 0


@pytest.mark.parametrize(
    ("args", "cwd", "says"),
    [
        (("nosuch",), "/", 'cannot start "nosuch": no such program on the PATH of the image'),
        (("/bin/nosuch",), "/", 'cannot start "/bin/nosuch": no such file in the image'),
        (("./plain",), "/data", 'cannot start "./plain": the file is not executable'),
        (("/data",), "/", 'cannot start "/data": it is a directory'),
        (("/data/script",), "/", 'its interpreter "/opt/none/interpreter" is not in the image'),
        (("true",), "/nowhere", 'cannot start: no working directory "/nowhere" in the image'),
        (("true",), "/data/plain", 'cannot start: the working directory "/data/plain" is not a directory'),
        (("",), "/", "cannot start: the command is empty"),
        (("true", "x" * 200_000), "/", "is longer than"),
    ],
)
def test_what_cannot_start_is_told_in_a_sentence(bench, args, cwd, says):
    ran = bench.run(*args, cwd=cwd)
    assert ran.exit.start_error is not None and says in ran.exit.start_error
    assert ran.exit.node_error is None


def test_a_program_that_its_user_may_not_execute_is_not_the_nodes_fault(bench):
    assert bench.run("/data/owned/busybox", "true").exit.exit_code == 0
    ran = bench.run("/data/owned/busybox", "true", identity=WORKER)
    assert ran.exit.start_error == 'cannot start "/data/owned/busybox": user 1000 may not execute the file'


def test_term_reaches_the_program(bench, until):
    started = time.monotonic()
    container = bench.start(
        "sh", "-c", "trap 'echo caught; exit 9' TERM; echo ready; while :; do sleep 0.1; done"
    )
    until(lambda: "ready" in bench.output.read_text(), bench.output.read_text)
    assert container.wait(0) is None
    container.signal(signal.SIGTERM)
    ran = bench.finish(container, started)
    assert (ran.exit.exit_code, ran.output) == (9, "ready\ncaught\n")


def test_term_ends_a_program_that_does_not_handle_it(bench, until):
    container = bench.start("sh", "-c", "echo ready; exec sleep 1000")
    until(lambda: "ready" in bench.output.read_text(), bench.output.read_text)
    container.signal(signal.SIGTERM)
    assert bench.finish(container, time.monotonic()).exit.exit_code == 143


def test_kill_takes_everything(bench, until):
    daemon = "(trap '' TERM HUP; setsid sleep 4321 &)"
    script = f"trap '' TERM; {daemon}; sleep 4321 & echo ready; while :; do sleep 1; done"
    container = bench.start("sh", "-c", script)
    until(lambda: "ready" in bench.output.read_text(), bench.output.read_text)
    container.signal(signal.SIGTERM)
    assert container.wait(0.2) is None
    container.kill()
    container.kill()
    assert container.wait(20).exit_code == 137
    assert "sleep 4321" not in _command_lines()
    container.signal(signal.SIGTERM)  # nothing happens
    bench.finish(container, time.monotonic())


def test_kill_at_once_after_the_start(bench):
    for _ in range(5):
        container = bench.start("sleep", "1000")
        container.kill()
        assert bench.finish(container, time.monotonic()).exit.exit_code == 137


def test_what_outlives_the_main_process_is_gone_when_wait_returns(bench):
    ran = bench.sh("setsid sleep 4322 & exit 5")
    assert ran.exit.exit_code == 5
    assert "sleep 4322" not in _command_lines()


def test_orphans_are_reaped_inside(bench):
    script = "for i in 1 2 3 4 5; do (sleep 0.05 &) ; done; sleep 0.5; ls -d /proc/[0-9]* | wc -l"
    count = int(bench.sh(script).output)
    assert count <= 4, "the reaper, the shell and its pipe are all that is left"
