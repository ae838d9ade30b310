"""`openhtc admin` on a database: what each command prints, changes, notes and refuses."""

import json
import os
import pwd
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from openhtc.cli import main

from ..world import SECRET_KEY

ACTOR = f"operator:{pwd.getpwuid(os.getuid()).pw_name}"
WEST, CENTRAL = "AWS_US_WEST_2", "GCP_US_CENTRAL_1"
SETTINGS = f"""
public_url = "http://127.0.0.1:1"
database_url = "%s"
s3_endpoint = "http://127.0.0.1:1"
s3_bucket = "b"
s3_access_key = "a"
s3_secret_key = "s"
sts_role_arn = "arn"
registry_url = "http://127.0.0.1:1"
registry_host = "127.0.0.1:1"
registry_key_file = "key"
secret_key = "{SECRET_KEY}"
"""


@dataclass
class Admin:
    """The command line, run in this process."""

    settings: Path
    capture: pytest.CaptureFixture[str]
    patch: pytest.MonkeyPatch

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, standard output, standard error."""
        self.patch.setattr("sys.argv", ["openhtc", "admin", *arguments, "--settings", str(self.settings)])
        with pytest.raises(SystemExit) as left:
            main.main()
        said = self.capture.readouterr()
        return int(left.value.code or 0), said.out, said.err

    def __call__(self, *arguments: str) -> Any:
        code, out, err = self.run(*arguments)
        assert code == 0, err
        return json.loads(out)

    def refused(self, *arguments: str) -> str:
        """The one line that says why."""
        code, out, err = self.run(*arguments)
        assert (code, out) == (2, ""), (code, out, err)
        assert err.startswith("openhtc: ") and err.count("\n") == 1, err
        return err.removeprefix("openhtc: ")

    def listed(self, *arguments: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self(*arguments, "--output", "json")
        return found

    def trail(self, *narrow: str) -> list[tuple[str, str]]:
        """(action, subject), the oldest first."""
        found = self.listed("audit", *narrow)
        assert {entry["actor"] for entry in found} <= {ACTOR}
        return [(entry["action"], entry["subject"]) for entry in reversed(found)]


@pytest.fixture
def admin(
    database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Admin:
    settings = tmp_path / "server.toml"
    settings.write_text(SETTINGS % database_url)
    return Admin(settings, capsys, monkeypatch)


@pytest.fixture
def workspace(admin: Admin) -> str:
    for region in (WEST, CENTRAL):
        admin("regions", "set", region)
    return str(admin("workspaces", "create", "w", "--region", WEST)["workspace_id"])


@pytest.fixture
def user(admin: Admin, workspace: str) -> str:
    return str(admin("users", "create", "a@example.org", "A", "--workspace", workspace)["user_id"])


def test_bootstrap_and_migrate(admin: Admin) -> None:
    made = admin("bootstrap")
    assert set(made) == {"api_key", "agent_key", "user_id", "workspace_id"}
    assert "--rotate" in admin.refused("bootstrap")
    assert admin("bootstrap", "--rotate")["api_key"] != made["api_key"]
    assert admin("migrate") == {"applied": []}
    assert ("user.created", f"user:{made['user_id']}") in admin.trail()


def test_organizations(admin: Admin) -> None:
    assert admin("organizations", "create", "acme", "Acme Inc.") == {"organization_code": "acme"}
    assert [(row["code"], row["name"]) for row in admin.listed("organizations", "list")] == [
        ("acme", "Acme Inc.")
    ]
    assert "exists already" in admin.refused("organizations", "create", "acme", "Again")
    assert admin.trail() == [("organization.created", "organization:acme")]


def test_workspaces(admin: Admin, workspace: str) -> None:
    (row,) = admin.listed("workspaces", "list")
    assert (row["id"], row["name"], row["organization_code"]) == (workspace, "w", "local")
    admin("workspaces", "regions", workspace, "--region", CENTRAL, "--region", WEST)
    assert admin("workspaces", "htc", workspace, "--off")["htc_enabled"] is False
    admin("workspaces", "limit", workspace, "--vcpus", "7")
    shown = admin("workspaces", "show", workspace)
    assert (shown["regions"], shown["htc_enabled"], shown["limit_vcpus"]) == ([CENTRAL, WEST], False, 7)
    assert admin("workspaces", "limit", workspace, "--clear")["vcpus"] is None
    assert admin("workspaces", "show", workspace)["limit_vcpus"] is None
    assert admin.trail("--subject", f"workspace:{workspace}") == [
        (action, f"workspace:{workspace}")
        for action in (
            "workspace.created",
            "workspace.regions",
            "workspace.features",
            "limit.set",
            "limit.removed",
        )
    ]


def test_workspaces_that_cannot_be(admin: Admin, workspace: str) -> None:
    before = admin.trail()
    for arguments, said in (
        (("create", "a/b"), "folder"),
        (("create", "b", "--region", "AZURE_US_WEST_2"), "is not mapped to a provider"),
        (("show", "99-nowhere"), "there is no workspace '99-nowhere'"),
        (("htc", "99-nowhere", "--on"), "there is no workspace"),
        (("regions", "99-nowhere", "--region", WEST), "there is no workspace"),
        (("limit", "99-nowhere", "--vcpus", "1"), "there is no workspace"),
        (("limit", workspace), "either --vcpus N or --clear"),
        (("limit", workspace, "--vcpus", "1", "--clear"), "either --vcpus N or --clear"),
        (("limit", workspace, "--vcpus", "1000000"), "is not within 0 and 999999"),
        (("dimensions", "99-nowhere"), "there is no workspace"),
        (("dimensions", "99-nowhere", "--clear"), "there is no workspace"),
    ):
        assert said in admin.refused("workspaces", *arguments)
    assert admin.trail() == before


def test_dimensions(admin: Admin, workspace: str, tmp_path: Path) -> None:
    file = tmp_path / "dimensions.json"
    entries = [{"region": WEST, "priority": "ON_DEMAND_ECONOMY"}, {"machineType": "big"}]
    file.write_text(json.dumps([{**entries[0], "derived": {"vCPUs": 5}}, entries[1]]))
    assert admin("workspaces", "dimensions", workspace) == []
    assert admin("workspaces", "dimensions", workspace, "--file", str(file)) == entries
    assert admin("workspaces", "dimensions", workspace) == entries
    for text, said in (
        ("[", "truncated"),
        ("{}", "Expected `array`"),
        ('[{"region": "MARS"}]', "Invalid enum value"),
        ('[{}, {"machinetype": "big"}]', "[1]: 'machinetype' is none of"),
        ('[{"machineType": ""}]', "length >= 1"),
    ):
        file.write_text(text)
        assert said in admin.refused("workspaces", "dimensions", workspace, "--file", str(file))
    missing = str(tmp_path / "missing")
    assert "No such file" in admin.refused("workspaces", "dimensions", workspace, "--file", missing)
    assert "either" in admin.refused("workspaces", "dimensions", workspace, "--clear", "--file", missing)
    assert admin("workspaces", "dimensions", workspace) == entries
    assert admin("workspaces", "dimensions", workspace, "--clear") == []
    assert [action for action, _ in admin.trail("--subject", f"workspace:{workspace}")][1:] == [
        "dimensions.set",
        "dimensions.set",
    ]


def test_users(admin: Admin, workspace: str, user: str) -> None:
    admin("users", "grant", user, "workspace_admin", "operator")
    admin("users", "revoke", user, "operator")
    assert admin("users", "disable", user) == {"user_id": user, "disabled": True}
    (row,) = admin.listed("users", "list", "--workspace", workspace)
    assert (row["is_workspace_admin"], row["is_organization_admin"], row["is_operator"]) == (
        True,
        False,
        False,
    )
    assert row["disabled"] is True
    assert admin("users", "enable", user)["disabled"] is False
    assert admin.listed("users", "list", "--workspace", "99-nowhere") == []
    assert [action for action, _ in admin.trail("--subject", f"user:{user}")] == [
        "user.created",
        "user.roles_granted",
        "user.roles_revoked",
        "user.disabled",
        "user.enabled",
    ]
    for verb in (("grant", "nobody", "operator"), ("disable", "nobody"), ("enable", "nobody")):
        assert "there is no user 'nobody'" in admin.refused("users", *verb)
    assert "is not an address" in admin.refused("users", "create", "a", "A", "--workspace", workspace)


def test_keys(admin: Admin, user: str) -> None:
    made = admin("keys", "create", "--user", user, "--label", "laptop", "--expires-days", "9")
    assert made["key"].startswith("ohk_")
    assert admin("keys", "create", "--kind", "metrics")["key"].startswith("ohm_")
    (row,) = admin.listed("keys", "list", "--user", user)
    assert (row["id"], row["kind"], row["label"]) == (made["key_id"], "api_key", "laptop")
    assert row["expires_at"] > row["created_at"] and row["revoked_at"] is None
    assert "ohk_" not in json.dumps(admin.listed("keys", "list"))
    assert admin("keys", "revoke", made["key_id"]) == {"revoked": made["key_id"]}
    assert admin.listed("keys", "list", "--user", user)[0]["revoked_at"] is not None
    assert "there is no live key" in admin.refused("keys", "revoke", made["key_id"])
    assert "there is no live key" in admin.refused("keys", "revoke", str(uuid4()))
    for arguments in (("--kind", "agent", "--user", user), (), ("--kind", "gold")):
        admin.refused("keys", "create", *arguments)
    assert [action for action, _ in admin.trail("--subject", f"key:{made['key_id']}")] == [
        "key.created",
        "key.revoked",
    ]


def test_join_tokens(admin: Admin, user: str) -> None:
    api_key = admin("keys", "create", "--user", user)
    made = admin("join-tokens", "create", "--region", WEST, "--label", "rack 1", "--expires-days", "1")
    assert made["key"].startswith("oha_")
    (row,) = admin.listed("join-tokens", "list")
    assert (row["id"], row["label"], row["regions"]) == (made["key_id"], "rack 1", [WEST])
    assert "there is no live agent_key" in admin.refused("join-tokens", "revoke", api_key["key_id"])
    admin("join-tokens", "revoke", made["key_id"])
    assert admin.listed("join-tokens", "list")[0]["revoked_at"] is not None
    assert admin.listed("keys", "list", "--user", user)[0]["revoked_at"] is None
    assert "is not mapped" in admin.refused("join-tokens", "create", "--region", "AZURE_US_WEST_2")


def test_regions(admin: Admin) -> None:
    made = admin("regions", "set", WEST, "--weight", "2.5", "--architecture", "X86", "--architecture", "A100")
    assert (made["provider"], made["enabled"], made["weight"]) == ("local", True, 2.5)
    admin("regions", "set", WEST, "--no-enabled", "--provider", "slurm")
    (row,) = admin.listed("regions", "list")
    assert (row["name"], row["provider"], row["enabled"], row["weight"]) == (WEST, "slurm", False, 2.5)
    assert (row["architectures"], row["updated_by"]) == (["X86", "A100"], ACTOR)
    assert "provider: 'cloud'" in admin.refused("regions", "set", WEST, "--provider", "cloud")
    assert "weight: -1.0" in admin.refused("regions", "set", WEST, "--weight", "-1")
    assert admin.trail() == [("region.set", f"region:{WEST}")] * 2


def test_signing_keys(admin: Admin) -> None:
    kid = admin("rotate-signing-key")["kid"]
    assert admin.trail() == [("signing_key.rotated", f"signing_key:{kid}")]


def test_audit(admin: Admin, workspace: str, user: str) -> None:
    found = admin.listed("audit")
    assert [entry["id"] for entry in found] == sorted((entry["id"] for entry in found), reverse=True)
    assert set(found[0]) == {"id", "at", "actor", "action", "subject", "details"}
    assert admin.listed("audit", "--limit", "1") == found[:1]
    assert admin.listed("audit", "--limit", "1", "--before", str(found[0]["id"])) == found[1:2]
    assert admin.listed("audit", "--actor", ACTOR) == found
    assert admin.listed("audit", "--actor", "somebody") == []
    assert [entry["subject"] for entry in admin.listed("audit", "--subject", f"user:{user}")] == [
        f"user:{user}"
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        ("organizations", "list"),
        ("workspaces", "list"),
        ("users", "list"),
        ("keys", "list"),
        ("join-tokens", "list"),
        ("regions", "list"),
        ("audit",),
    ],
    ids=lambda arguments: arguments[0],
)
def test_tables_for_people(admin: Admin, user: str, arguments: tuple[str, ...]) -> None:
    admin("join-tokens", "create", "--region", WEST)
    code, out, _ = admin.run(*arguments)
    assert code == 0
    first = admin.listed(*arguments)[0]
    assert next(iter(first)) in out
    shown = str(first.get("id", first.get("code", first.get("name"))))
    assert shown in out


def test_a_database_that_is_away(admin: Admin) -> None:
    admin.settings.write_text(SETTINGS % "postgresql://nobody@127.0.0.1:1/none")
    assert "the database does not answer" in admin.refused("users", "list")


def test_no_settings_at_all(admin: Admin) -> None:
    admin.settings.unlink()
    assert "cannot read the settings file" in admin.refused("users", "list")
