"""The session policy that grants become."""

import json

import pytest

from openhtc.objects import Grant
from openhtc.objects.grants import session_policy


@pytest.mark.parametrize(
    "prefix", ["", "a", "/", "a//", "../", "a/../b/", "*/", "a?/", "${aws:user}/", "a\n/"]
)
def test_impossible_prefixes_are_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="no prefix of a grant"):
        Grant(prefix, read=True)


def test_a_grant_of_nothing_and_no_grants_are_refused() -> None:
    with pytest.raises(ValueError, match="allows nothing"):
        Grant("a/")
    with pytest.raises(ValueError, match="at least one"):
        session_policy("htc", [])


def test_rights_of_several_prefixes_share_statements() -> None:
    project = "projects/11111111-2222-4333-8444-555555555555/"
    grants = [Grant(f"{project}shared/", True, True, True), Grant(f"{project}tasks/1/", True, True, True)]
    policy = json.loads(session_policy("htc", grants))
    assert [len(statement["Resource"]) for statement in policy["Statement"]] == [2, 1]
    assert policy["Statement"][1]["Condition"]["StringLike"]["s3:prefix"] == [
        f"{project}shared/*",
        f"{project}tasks/1/*",
    ]


def test_a_policy_that_sts_would_refuse_is_refused_here() -> None:
    with pytest.raises(ValueError, match="2048"):
        session_policy("htc", [Grant(f"{'x' * 100}{number}/", read=True) for number in range(20)])
