import dataclasses
import os
import signal
import subprocess

from openhtc.lifecycle.identity import process_identity


def test_a_process_is_recognised_and_ended() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        identity = process_identity(process.pid)
        assert identity is not None
        assert identity.is_alive()
        assert not identity.wait_gone(0.01)
        assert identity.signal(signal.SIGKILL)
        assert identity.wait_gone(10)
        process.wait()
        assert not identity.is_alive()
        assert not identity.signal(signal.SIGKILL)


def test_a_zombie_has_ended() -> None:
    with subprocess.Popen(["true"]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert process_identity(process.pid) is None


def test_another_process_with_the_same_pid_is_left_alone() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        identity = process_identity(process.pid)
        assert identity is not None
        earlier = dataclasses.replace(identity, started=identity.started - 1)
        before_reboot = dataclasses.replace(identity, boot="another boot")
        for stranger in (earlier, before_reboot):
            assert not stranger.is_alive()
            assert not stranger.signal(signal.SIGKILL)
            assert stranger.wait_gone(0)
        assert identity.is_alive()
        process.kill()


def test_a_name_with_spaces_and_brackets_does_not_confuse() -> None:
    program = "import ctypes; ctypes.CDLL(None).prctl(15, b') S 1 (x'); print('named', flush=True); input()"
    with subprocess.Popen(
        ["python3", "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        identity = process_identity(process.pid)
        assert identity is not None
        assert identity.started > 0
        assert process_identity(process.pid) == identity
        process.kill()
