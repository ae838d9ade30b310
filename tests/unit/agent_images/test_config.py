"""Entry point and command, variables, and names of users."""

import pytest

from openhtc.agent.images.config import Identity, ImageConfig, command, environment, resolve_user
from openhtc.agent.images.errors import ImageError


@pytest.mark.parametrize(
    ("entrypoint", "cmd", "commands", "expected"),
    [
        ((), ("sh",), [], ("sh",)),
        ((), ("sh",), ["ls", "-l"], ("ls", "-l")),
        (("python3",), ("/a.py",), [], ("python3", "/a.py")),
        (("python3",), ("/a.py",), ["/b.py"], ("python3", "/b.py")),
        (("solver",), (), [], ("solver",)),
    ],
)
def test_commands_replace_the_command_and_the_entry_point_stays(entrypoint, cmd, commands, expected):
    assert command(ImageConfig(entrypoint=entrypoint, cmd=cmd), commands) == expected


def test_nothing_to_run_is_said():
    with pytest.raises(ImageError, match="names no program"):
        command(ImageConfig(), [])


def test_later_variables_win():
    config = ImageConfig(env=(("A", "image"), ("B", "image")))
    merged = environment(
        config, Identity(0, 0, (), "/root"), [("B", "batch"), ("C", "batch")], [("C", "job")]
    )
    found = dict(merged)
    assert (found["A"], found["B"], found["C"], found["HOME"]) == ("image", "batch", "job", "/root")
    assert found["PATH"].endswith("/bin")
    assert len(found) == len(merged)


@pytest.fixture
def rootfs(tmp_path):
    (tmp_path / "root/etc").mkdir(parents=True)
    (tmp_path / "root/etc/passwd").write_text(
        "root:x:0:0::/root:/bin/sh\nbroken line\nlab:x:70:71::/lab:/bin/sh\n"
    )
    (tmp_path / "root/etc/group").write_text("root:x:0:\nlab:x:71:\nextra:x:90:other,lab\ndisk:x:6:root\n")
    return tmp_path / "root"


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("", Identity(0, 0, (6,), "/root")),
        ("root", Identity(0, 0, (6,), "/root")),
        ("lab", Identity(70, 71, (90,), "/lab")),
        ("70", Identity(70, 71, (90,), "/lab")),
        ("lab:disk", Identity(70, 6, (), "/lab")),
        ("lab:55", Identity(70, 55, (), "/lab")),
        ("1234", Identity(1234, 0, (), "/")),
        ("1234:99", Identity(1234, 99, (), "/")),
    ],
)
def test_users(rootfs, user, expected):
    assert resolve_user(rootfs, user) == expected


@pytest.mark.parametrize("user", ["nobody-here", "lab:nogroup", "70000", "0:70000"])
def test_users_that_are_not_there(rootfs, user):
    with pytest.raises(ImageError):
        resolve_user(rootfs, user)


def test_account_files_are_not_read_through_links_to_the_host(rootfs, tmp_path):
    (tmp_path / "passwd").write_text("spy:x:7:7::/:/bin/sh\n")
    (rootfs / "etc/passwd").unlink()
    (rootfs / "etc/passwd").symlink_to(tmp_path / "passwd")
    with pytest.raises(ImageError):
        resolve_user(rootfs, "spy")
    (rootfs / "etc/passwd").unlink()
    (rootfs / "etc/passwd").symlink_to("/etc/real")
    (rootfs / "etc/real").write_text("spy:x:8:8::/:/bin/sh\n")
    assert resolve_user(rootfs, "spy").uid == 8


def test_an_image_without_accounts_runs_as_root(tmp_path):
    assert resolve_user(tmp_path, "") == Identity(0, 0, (), "/")
