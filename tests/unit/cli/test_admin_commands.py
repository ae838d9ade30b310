"""The shape of `openhtc admin`: every command explains itself, and lists can be read by programs."""

import os
import pwd
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from openhtc.cli.admin import app
from openhtc.cli.admin.connection import actor
from openhtc.cli.output import Format


def commands(group: Any, path: str = "admin") -> Iterator[tuple[str, Any]]:
    if not hasattr(group, "commands"):
        yield path, group
        return
    for name, command in group.commands.items():
        yield from commands(command, f"{path} {name}")


COMMANDS = dict(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_explains_itself(path: str) -> None:
    command = COMMANDS[path]
    said = (command.help or "").strip()
    assert said.endswith(".") and len(said.split()) >= 2, said
    options = {parameter.name for parameter in command.params}
    assert {"settings", "data"} <= options


@pytest.mark.parametrize("path", [path for path in COMMANDS if path.endswith((" list", " audit"))])
def test_every_list_has_a_form_for_programs(path: str) -> None:
    (option,) = [parameter for parameter in COMMANDS[path].params if parameter.name == "output"]
    assert option.opts == ["--output", "-o"]
    assert option.default is Format.table and list(Format) == ["table", "json"]


def test_what_an_operator_needs_is_there() -> None:
    subjects = {path.split()[1] for path in COMMANDS}
    assert subjects == {
        "migrate",
        "bootstrap",
        "restored",
        "rotate-signing-key",
        "audit",
        "organizations",
        "workspaces",
        "users",
        "keys",
        "join-tokens",
        "regions",
    }


def test_the_environment_does_not_change_who_acts(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "somebody-else")
    assert actor() == f"operator:{pwd.getpwuid(os.getuid()).pw_name}"


def test_a_user_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getuid", lambda: 2**31 - 3)
    assert actor() == f"operator:{2**31 - 3}"
