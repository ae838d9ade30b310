"""What repositories, images and environment variables may be called: api-facts 2.0 as tables."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openhtc.domain.names import MAX_NAME_LENGTH, env_name_problem, is_repository, split_image

REPOSITORIES = [
    "app",
    "a",
    "0",
    "a/b",
    "a/b/c",
    "my.app",
    "my_app",
    "my-app",
    "a1/b-2_c.3",
    "a" * MAX_NAME_LENGTH,
]
NO_REPOSITORIES = [
    "",
    "App",
    "a//b",
    "/a",
    "a/",
    "-a",
    "a-",
    "a..b",
    "a--b",
    "a._b",
    "a b",
    "a:b",
    "host:5000/a",
    "ä",
    "a\n",
    "a" * (MAX_NAME_LENGTH + 1),
    "a/../b",
]


@pytest.mark.parametrize("name", REPOSITORIES)
def test_a_good_repository(name: str) -> None:
    assert is_repository(name)
    assert split_image(name) == (name, "latest")


@pytest.mark.parametrize("name", NO_REPOSITORIES)
def test_no_repository(name: str) -> None:
    assert not is_repository(name)


@pytest.mark.parametrize(
    ("image", "tag"),
    [
        ("app:v1", "v1"),
        ("app:latest", "latest"),
        ("a/b:1.0-rc_2", "1.0-rc_2"),
        ("app:_x", "_x"),
        ("app:V", "V"),
        ("app:" + "t" * 128, "t" * 128),
    ],
)
def test_a_good_image(image: str, tag: str) -> None:
    assert split_image(image) == (image.partition(":")[0], tag)


@pytest.mark.parametrize(
    "image",
    [
        "",
        ":v1",
        "app:",
        "app:-x",
        "app:.x",
        "app:a b",
        "app:v1\n",
        "app:v1:v2",
        "host:5000/app:v1",
        "app@sha256:" + "0" * 64,
        "app:" + "t" * 129,
        "App:v1",
    ],
)
def test_no_image(image: str) -> None:
    assert split_image(image) is None


@given(st.from_regex(r"(?:[a-z0-9]+(?:[._-][a-z0-9]+)*/)*[a-z0-9]+(?:[._-][a-z0-9]+)*", fullmatch=True))
def test_every_name_of_the_pattern_up_to_the_limit_is_a_repository(name: str) -> None:
    assert is_repository(name) == (len(name) <= MAX_NAME_LENGTH)


@pytest.mark.parametrize(
    "name",
    [
        "PATH",
        "MY_VAR",
        "lower",
        "1",
        "with space",
        "ÄÖ",
        "RESCALE",
        "RESCALE_HTC",
        "RESCALE_HTC_OTHER",
        "MY_RESCALE_JOB_ID",
        "X_AWS_SESSION_TOKEN",
        "AWS_REGION",
        "AWS_BATCH",
        "RDF",
        "MY_RDF_",
        "RESCALE_HTC_REGION_2",
        "aws_batch_job_id",
    ],
)
def test_an_allowed_variable(name: str) -> None:
    assert env_name_problem(name) is None


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", "empty"),
        ("A=B", "'='"),
        ("=", "'='"),
        ("A\0B", "NUL"),
        ("AWS_BATCH_JOB_ID", "AWS_BATCH_"),
        ("MY_AWS_BATCH_THING", "AWS_BATCH_"),
        ("A\nAWS_BATCH_B", "AWS_BATCH_"),
        ("RESCALE_PROJECT_ID", "RESCALE_PROJECT_ID"),
        ("RESCALE_PROJECT_ID_2", "RESCALE_PROJECT_ID"),
        ("RESCALE_TASK_IDX", "RESCALE_TASK_ID"),
        ("RESCALE_JOB_ID", "RESCALE_JOB_ID"),
        ("PROJECT_SHARED_FOLDER_X", "PROJECT_SHARED_FOLDER"),
        ("TASK_SHARED_FOLDER", "TASK_SHARED_FOLDER"),
        ("AWS_SESSION_TOKEN", "AWS_SESSION_TOKEN"),
        ("AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY_ID"),
        ("AWS_SECRET_ACCESS_KEY_X", "AWS_SECRET_ACCESS_KEY"),
        ("RDF_ANY", "RDF_"),
        ("RESCALE_HTC_REGION", "reserved"),
        ("RESCALE_HTC_TASK_ID", "reserved"),
        ("RESCALE_HTC_PROJECT_ID", "reserved"),
        ("RESCALE_HTC_BEARER_TOKEN", "reserved"),
        ("RESCALE_HTC_REFRESH_TOKEN", "reserved"),
    ],
)
def test_a_refused_variable(name: str, says: str) -> None:
    problem = env_name_problem(name)
    assert problem is not None
    assert says in problem
