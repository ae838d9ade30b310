"""Which part of what a registry client asks for a project's credential gets. Invariant 8 for images."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openhtc.registry import Access, Scope, granted, parse_scopes, project_prefix, repository_path

PROJECT = "0b9d6d0e-7a43-4c6e-9a0c-d0a5c6a8c0de"
OTHER = "7f1f2a34-0000-4000-8000-000000000000"
PREFIX = project_prefix(PROJECT)


def given_for(*parameters: str) -> list[Access]:
    return granted(parse_scopes(parameters), PREFIX)


def test_repository_path_lies_below_the_project() -> None:
    assert repository_path(PROJECT, "team/app") == f"aws.com/{PROJECT}/team/app"


def test_push_and_pull_of_own_repository() -> None:
    assert given_for(f"repository:{PREFIX}app:pull,push") == [Access(f"{PREFIX}app", ("pull", "push"))]


def test_star_means_everything_inside_the_project() -> None:
    assert given_for(f"repository:{PREFIX}a/b:*") == [Access(f"{PREFIX}a/b", ("pull", "push", "delete"))]


def test_several_scopes_in_one_or_more_parameters() -> None:
    asked = f"repository:{PREFIX}a:pull repository:{PREFIX}b:pull"
    assert given_for(asked, f"repository:{PREFIX}a:push,pull") == [
        Access(f"{PREFIX}a", ("pull", "push")),
        Access(f"{PREFIX}b", ("pull",)),
    ]


def test_foreign_part_of_a_cross_repository_mount_is_left_out() -> None:
    asked = (f"repository:{PREFIX}a:pull,push", f"repository:aws.com/{OTHER}/b:pull")
    assert given_for(*asked) == [Access(f"{PREFIX}a", ("pull", "push"))]


def test_name_with_a_port_is_split_at_its_ends() -> None:
    assert parse_scopes(["repository:host:5000/a/b:pull"]) == [
        Scope("repository", "host:5000/a/b", ("pull",))
    ]


def test_class_of_a_repository_is_ignored() -> None:
    assert parse_scopes(["repository(plugin):a/b:pull"]) == [Scope("repository", "a/b", ("pull",))]


@pytest.mark.parametrize("text", ["", ":", "::", "repository", "repository:a", "repository::pull", ":a:pull"])
def test_what_is_no_scope_is_left_out(text: str) -> None:
    assert parse_scopes([text]) == []


@pytest.mark.parametrize(
    "scope",
    [
        f"repository:aws.com/{PROJECT}x/app:pull",
        f"repository:aws.com/{PROJECT}:pull",
        f"repository:aws.com/{PROJECT}/:pull",
        f"repository:{PREFIX}../{OTHER}/app:pull",
        f"repository:{PREFIX}./app:pull",
        f"repository:{PREFIX}/app:pull",
        f"repository:{PREFIX}app/:pull",
        f"repository:{PREFIX}App:pull",
        f"repository:{PREFIX}a%2f..%2fb:pull",
        f"repository:{PREFIX}a\\b:pull",
        f"repository:{PREFIX}a\x00b:pull",
        f"repository:/{PREFIX}app:pull",
        f"repository:x/{PREFIX}app:pull",
        f"repository:host:5000/{PREFIX}app:pull",
        f"repository:{PREFIX}{'a' * 300}:pull",
        f"repository:aws.com/{OTHER}/app:*",
        f"repository:{PREFIX}app:admin",
        f"repository:{PREFIX}app:",
        "repository:*:*",
        "registry:catalog:*",
        f"registry:{PREFIX}catalog:*",
        f"Repository:{PREFIX}app:pull",
    ],
)
def test_hostile_scopes_get_nothing(scope: str) -> None:
    assert given_for(scope) == []


@pytest.mark.parametrize("prefix", ["", "aws.com", f"aws.com/{PROJECT}", "*"])
def test_a_prefix_that_is_no_folder_opens_nothing(prefix: str) -> None:
    assert granted(parse_scopes([f"repository:{PREFIX}app:pull"]), prefix) == []


@given(st.lists(st.text(alphabet="repositoy:/.acdmwsh-_,*pulsjF %", max_size=60), max_size=4))
def test_nothing_outside_the_prefix_is_ever_given(parameters: list[str]) -> None:
    for access in granted(parse_scopes(parameters), "aws.com/a/"):
        assert access.name.startswith("aws.com/a/")
        assert ".." not in access.name
        assert set(access.actions) <= {"pull", "push", "delete"}
