"""Image configurations made to break the agent, or to slip options into a container's start."""

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from openhtc.agent.images import manifest
from openhtc.agent.images.config import resolve_user
from openhtc.agent.images.errors import ImageError
from openhtc.agent.runtimes import program
from openhtc.agent.runtimes.base import ContainerSpec
from openhtc.agent.sandbox import linux
from openhtc.agent.sandbox.ids import IdMap

INJECTED = "/tmp\0--bind\0/\0/mnt\0--chdir\0/tmp"
"""Where options are ended by zero bytes, this would mount the host's root."""
MANY_DIGITS = "9" * 5000
"""More than int() takes."""


def configured(**members: Any) -> bytes:
    return msgspec.json.encode({"config": members})


@pytest.mark.parametrize(
    "path", [INJECTED, "relative", "/a\nb", "/" + "a" * 300, "/a" * 3000], ids=lambda path: repr(path[:12])
)
def test_a_working_directory_that_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(ImageError) as caught:
        manifest.read_config(configured(WorkingDir=path))
    assert not caught.value.transient


def test_a_configuration_of_wrong_types_is_refused() -> None:
    for members in ({"Cmd": "sh"}, {"Env": {"A": "B"}}, {"User": 0}, {"Entrypoint": [1]}):
        with pytest.raises(ImageError) as caught:
            manifest.read_config(configured(**members))
        assert not caught.value.transient


@pytest.mark.parametrize(
    "user", ["²", MANY_DIGITS, "-1", "65536", "0:²", "0:" + MANY_DIGITS, "1_0", "٣", "0\0"]
)
def test_a_user_that_is_no_number_is_the_images_fault(tmp_path: Path, user: str) -> None:
    with pytest.raises(ImageError) as caught:
        resolve_user(tmp_path, user)
    assert not caught.value.transient


@pytest.mark.parametrize("number", ["²", MANY_DIGITS, "-1", ""])
def test_account_files_with_odd_numbers_are_the_images_fault(tmp_path: Path, number: str) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(f"sim:x:{number}:0::/:/bin/sh\n")
    with pytest.raises(ImageError):
        resolve_user(tmp_path, "sim")


@pytest.mark.parametrize("number", ["²", MANY_DIGITS, "-1", "70000"])
def test_groups_with_odd_numbers_are_left_out(tmp_path: Path, number: str) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("sim:x:7:7::/:/bin/sh\n")
    (tmp_path / "etc/group").write_text(f"odd:x:{number}:sim\nplain:x:8:sim\n")
    assert resolve_user(tmp_path, "sim").groups == (8,)


def test_accounts_are_never_those_of_the_host(tmp_path: Path) -> None:
    (tmp_path / "image/etc").mkdir(parents=True)
    (tmp_path / "passwd").write_text("hostuser:x:7:7::/:/bin/sh\n")
    (tmp_path / "image/etc/passwd").symlink_to("../../../../.." + str(tmp_path / "passwd"))
    with pytest.raises(ImageError, match="does not have"):
        resolve_user(tmp_path / "image", "hostuser")


@pytest.mark.parametrize("where", ["cwd", "args", "env name", "env value"])
def test_a_zero_byte_stops_a_start(tmp_path: Path, where: str) -> None:
    spec = ContainerSpec(
        name="job",
        rootfs=tmp_path,
        args=("sh", INJECTED) if where == "args" else ("sh",),
        env=((INJECTED if where == "env name" else "A", INJECTED if where == "env value" else "b"),),
        cwd=INJECTED if where == "cwd" else "/",
        uid=0,
        gid=0,
        groups=(),
        cgroup=None,
        network=None,
    )
    root = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    try:
        said = program.why_not(spec, root, IdMap.privileged())
    finally:
        os.close(root)
    assert said is not None and "zero byte" in said


def test_no_path_of_the_kernel_is_cut_at_a_zero_byte(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    root = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    try:
        with pytest.raises(OSError):
            linux.open_in_root(root, INJECTED, os.O_PATH)
    finally:
        os.close(root)
