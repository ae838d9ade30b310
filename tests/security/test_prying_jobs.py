"""Jobs that look for a way out, and what an ordinary user of the machine can see of jobs."""

import json
import os
import stat
import subprocess
from pathlib import Path

import pytest

from openhtc.client.images.layout import ImageConfig

from ..stack import Stack, Task, shell
from .hostile import Hostile

SECRET = "hush-4711-hush"
AS_NOBODY = ["setpriv", "--reuid", "64242", "--regid", "64242", "--clear-groups"]
INJECTED = "/tmp\0--bind\0/\0/mnt\0--chdir\0/tmp"
LOOK = r"""
read -r secret; read -r known
words=$(mktemp); printf '%s\n' "$secret" > "$words"
count() { cat /proc/*/cmdline /proc/*/environ 2>/dev/null | tr '\0' '\n' | grep -acF "$@"; }
count -f "$words"; count "$known"
grep -ralsFf "$words" "$1"
rm "$words"
"""
"""The secret comes by standard input and is in no argument: the search would find itself."""

OPEN_TO_ALL = ("VERSION", "agent/status.json", "registry/token-cert.pem")
"""Readable by everybody who knows the name: nothing secret in them."""


def test_no_option_slips_in_by_the_working_directory(hostile: Hostile) -> None:
    image = hostile.configured(ImageConfig(command=("sh", "-c", "ls /mnt"), working_dir=INJECTED))
    job, log = hostile.run("injected", image)
    assert (job["status"], job["failureCode"], log) == ("FAILED", "ErrorStartingContainer", [])


@pytest.mark.parametrize("user", ["²", "9" * 5000, "nobody-here"], ids=["odd", "long", "unknown"])
def test_an_impossible_user_costs_one_attempt(hostile: Hostile, stack: Stack, user: str) -> None:
    image = hostile.configured(ImageConfig(command=("true",), user=user))
    job, _ = hostile.run("user", image)
    assert (job["status"], job["failureCode"]) == ("FAILED", "ErrorStartingContainer")


@pytest.mark.parametrize("name", ["etc/passwd", "etc/resolv.conf", "etc/hosts", "home"])
def test_a_link_in_the_image_shows_nothing_of_the_host(hostile: Hostile, tmp_path: Path, name: str) -> None:
    (tmp_path / "outside").write_text(SECRET)
    image = hostile.with_link(name, "../" * 20 + str(tmp_path / "outside")[1:])
    _, log = hostile.run("linked", image, "sh", "-c", "cat /etc/* /home /home/* 2>&1; id")
    assert not any(SECRET in line for line in log)
    assert (tmp_path / "outside").read_text() == SECRET


@pytest.mark.parametrize("name", ["proc", "sys", "dev"])
def test_an_image_whose_places_are_links_does_not_start(hostile: Hostile, tmp_path: Path, name: str) -> None:
    """Some runtimes make files below these places before the image is their root."""
    outside = tmp_path / "outside"
    outside.mkdir()
    job, _ = hostile.run("places", hostile.with_link(name, str(outside)), "id")
    assert (job["status"], job["failureCode"]) == ("FAILED", "ErrorStartingContainer")
    assert not list(outside.iterdir())


def test_a_job_reaches_the_api_and_s3_and_no_other_port_of_this_machine(stack: Stack, task: Task) -> None:
    ports = json.loads((stack.data / "installation.json").read_bytes())["ports"]
    inner = {ports[name] + 10_000 for name in ports if name.startswith("s3")}
    shut = sorted((set(ports.values()) | inner) - {ports["api"], ports["s3"]})
    own = subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=True).stdout.split()
    hosts = ["127.0.0.1", "10.0.2.2", *(address for address in own if ":" not in address)]
    tries = " ".join(f"{host}:{port}" for host in hosts for port in shut)
    script = (
        f"for t in {tries}; do nc -w 1 ${{t%:*}} ${{t#*:}} </dev/null >/dev/null 2>&1 && echo reached $t; done;"
        f"for p in {ports['api']} {ports['s3']}; do nc -w 1 127.0.0.1 $p </dev/null && echo open $p; done; echo done"
    )
    job = task.submit_one(shell(script))
    task.wait_for_end()
    assert task.log(job) == [f"open {ports['api']}", f"open {ports['s3']}", "done"]


def test_a_jobs_processes_have_no_more_than_three_descriptors_to_files_of_ours(task: Task) -> None:
    job = task.submit_one(shell("for f in /proc/self/fd/* /proc/1/fd/*; do readlink $f; done"))
    task.wait_for_end()
    kinds = {line.split(":")[0] for line in task.log(job)}
    assert kinds <= {"/dev/null", "pipe", "user", "anon_inode"}, kinds


def test_what_a_job_is_given_is_invisible_to_other_users_of_the_machine(stack: Stack, task: Task) -> None:
    element = shell("echo ready; sleep 60", envs=[{"name": "MY_SECRET", "value": SECRET}])
    job = task.submit_one(element)
    task.wait_for_line(job, "ready")
    seen = subprocess.run(
        [*AS_NOBODY, "sh", "-c", LOOK, "look", str(stack.data)],
        input=f"{SECRET}\n{stack.data}\n",
        capture_output=True,
        text=True,
        check=True,
    )
    processes_with_secret, processes_of_ours, *files = seen.stdout.split()
    assert processes_with_secret == "0" and int(processes_of_ours) > 0 and not files, (
        seen.stdout + seen.stderr
    )


def test_only_harmless_files_of_the_data_directory_are_open_to_all(stack: Stack) -> None:
    kept_shut = ("postgres", "s3", "run", "logs")
    for folder in kept_shut:
        assert not stat.S_IMODE((stack.data / folder).stat().st_mode) & 0o077, folder
    found = []
    for place, folders, files in os.walk(stack.data):
        folders[:] = [name for name in folders if name not in (*kept_shut, "images", "slots")]
        for name in files:
            path = Path(place, name)
            if path.stat().st_mode & 0o077:
                found.append(str(path.relative_to(stack.data)))
    assert set(found) <= set(OPEN_TO_ALL), found


def test_no_log_of_the_service_holds_a_secret(stack: Stack, hostile: Hostile, task: Task) -> None:
    image = hostile.configured(ImageConfig(command=("true",), user="²"))
    hostile.run("faulty", image)
    job = task.submit_one(
        shell("echo $RESCALE_HTC_REFRESH_TOKEN", envs=[{"name": "MY_SECRET", "value": SECRET}])
    )
    task.wait_for_end()
    secrets = [SECRET, task.log(job)[0], stack.credentials["api_key"], "eyJ0eXAi"]
    for log in (stack.data / "logs").iterdir():
        text = log.read_text(errors="replace")
        assert not [secret[:12] for secret in secrets if secret in text], log.name
