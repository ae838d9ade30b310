"""Rules of a submission that its types cannot say."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openhtc.domain.errors import InvalidRequest
from openhtc.domain.regions import Region
from openhtc.domain.submission import ClaimPair, EnvPair, JobDefinition, JobSubmitRequest, Tag
from openhtc.domain.validation import check_group, check_submission, check_text, wanted_regions

REGIONS = ["AWS_US_WEST_2", "GCP_US_EAST_1"]


def request(*, regions: Any = None, region: Any = None, tags: Any = None, **members: Any) -> JobSubmitRequest:
    top = {"regions": regions, "region": region, "tags": tags}
    return JobSubmitRequest(
        JobDefinition("app:v1", **members),
        **{name: value for name, value in top.items() if value is not None},
    )


def refusal(*requests: JobSubmitRequest) -> str:
    with pytest.raises(InvalidRequest) as caught:
        check_submission(list(requests), REGIONS)
    assert caught.value.status == 400
    return caught.value.message


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (request(envs=[EnvPair("A=B", "x")]), "[1].htcJobDefinition.envs[0].name: 'A=B' contains"),
        (
            request(envs=[EnvPair("A", ""), EnvPair("", "x")]),
            "[1].htcJobDefinition.envs[1].name: '' is empty",
        ),
        (
            request(envs=[EnvPair("RESCALE_HTC_REGION", "x")]),
            "[1].htcJobDefinition.envs[0].name: 'RESCALE_HTC_REGION' is reserved",
        ),
        (request(claims=[ClaimPair("", "x")]), "[1].htcJobDefinition.claims[0].name: ''"),
        (request(claims=[ClaimPair("a\nb", "x")]), "[1].htcJobDefinition.claims[0].name: "),
        (request(claims=[ClaimPair("n" * 256, "x")]), "[1].htcJobDefinition.claims[0].name: "),
        (request(working_dir="tmp"), "[1].htcJobDefinition.workingDir: 'tmp' is not an absolute path"),
        (request(working_dir=""), "[1].htcJobDefinition.workingDir: '' is not an absolute path"),
        (request(commands=["ok", "x" * 131072]), "[1].htcJobDefinition.commands[1]: 131073 bytes"),
        (request(commands=["x" * 1000] * 600), "[1].htcJobDefinition.commands: "),
        (request(commands=["x"] * 2001), "[1].htcJobDefinition.commands: 2001 elements"),
        (request(envs=[EnvPair("A", "x" * 262144)]), "[1].htcJobDefinition.envs[0]: "),
        (request(envs=[EnvPair("A", "x" * 100_000)] * 6), "[1].htcJobDefinition.envs: "),
        (
            request(regions=[Region.AWS_EU_WEST_1]),
            "[1].regions: AWS_EU_WEST_1 is not a region of the project",
        ),
        (request(regions=[Region.AWS_US_WEST_2] * 2), "[1].regions: "),
        (request(region=Region.AWS_EU_WEST_1), "[1].region"),
        (request(commands=["a\0b"]), "[1].htcJobDefinition.commands[0]: contains NUL"),
        (request(envs=[EnvPair("A", "\0")]), "[1].htcJobDefinition.envs[0].value: contains NUL"),
        (request(tags=[Tag("k", "\0")]), "[1].tags[0].value: contains NUL"),
    ],
)
def test_a_refusal_names_the_place(bad: JobSubmitRequest, says: str) -> None:
    assert refusal(request(), bad).startswith(says)


def test_a_submission_has_1_to_100_elements() -> None:
    assert "0 elements" in refusal()
    assert "101 elements" in refusal(*[request()] * 101)
    check_submission([request()] * 100, REGIONS)


def test_what_is_just_allowed() -> None:
    fine = request(
        regions=[Region.AWS_US_WEST_2, Region.GCP_US_EAST_1],
        envs=[EnvPair("A", ""), EnvPair("A", "again"), EnvPair("ÄÖ", "x y")],
        claims=[ClaimPair("n" * 255, "")],
        commands=["", "x" * 131070],
        working_dir="/",
    )
    check_submission([fine], REGIONS)


def test_an_older_client_names_one_region() -> None:
    assert wanted_regions(request(region=Region.GCP_US_EAST_1)) == [Region.GCP_US_EAST_1]
    assert wanted_regions(request(regions=[], region=Region.GCP_US_EAST_1)) == [Region.GCP_US_EAST_1]
    assert wanted_regions(request()) == []


@pytest.mark.parametrize("group", ["", "a", "ä b/c", "x" * 255])
def test_a_group_is_any_short_text(group: str) -> None:
    check_group(group)


@pytest.mark.parametrize("group", ["x" * 256, "a\0b"])
def test_a_group_is_not_long_and_holds_no_nul(group: str) -> None:
    with pytest.raises(InvalidRequest, match="group"):
        check_group(group)


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(json_like)
def test_nul_is_found_wherever_it_is(value: object) -> None:
    if any("\0" in text for text in _texts(value)):
        with pytest.raises(InvalidRequest, match="NUL"):
            check_text("body", value)
    else:
        check_text("body", value)


def _texts(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for key, member in value.items() for text in (key, *_texts(member))]
    if isinstance(value, list):
        return [text for member in value for text in _texts(member)]
    return []
