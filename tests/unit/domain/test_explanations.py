"""A refused body is explained by its place, its value and what was expected."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openhtc.api.errors import explain
from openhtc.domain.submission import JobSubmitRequest


class Arguments(msgspec.Struct):
    """What the web framework decodes a request into: the body is its member data."""

    data: list[JobSubmitRequest]


def explained(body: Any) -> str:
    raw = msgspec.json.encode(body)
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert({"data": msgspec.json.decode(raw)}, Arguments)
    return explain(str(caught.value), raw)


def element(**members: Any) -> dict[str, Any]:
    return {"htcJobDefinition": {"imageName": "app:v1"}, **members}


def definition(**members: Any) -> list[Any]:
    return [{"htcJobDefinition": {"imageName": "app:v1", **members}}]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (definition(maxVCpus=65), "[0].htcJobDefinition.maxVCpus: 65 is above 64"),
        (definition(maxVCpus=0), "[0].htcJobDefinition.maxVCpus: 0 is below 1"),
        (definition(maxVCpus="2"), '[0].htcJobDefinition.maxVCpus: "2" is of type str, expected int'),
        (definition(maxVCpus=1.5), "[0].htcJobDefinition.maxVCpus: 1.5 is of type float, expected int"),
        (definition(maxMemory=235521), "[0].htcJobDefinition.maxMemory: 235521 is above 235520"),
        (definition(maxDiskGiB=64001), "[0].htcJobDefinition.maxDiskGiB: 64001 is above 64000"),
        (definition(execTimeoutSeconds=59), "[0].htcJobDefinition.execTimeoutSeconds: 59 is below 60"),
        (definition(maxSwap=-1), "[0].htcJobDefinition.maxSwap: -1 is below 0"),
        (definition(commands="ls"), '[0].htcJobDefinition.commands: "ls" is of type str, expected array'),
        (definition(commands=["a", 1]), "[0].htcJobDefinition.commands[1]: 1 is of type int, expected str"),
        (
            definition(envs=[{"name": "A"}]),
            "[0].htcJobDefinition.envs[0]: the required member value is missing",
        ),
        (
            [element(), element(), element(batchSize=1001)],
            "[2].batchSize: 1001 is above 1000",
        ),
        ([element(), {}], "[1]: the required member htcJobDefinition is missing"),
        ([element(retryStrategy={"maxRetries": 11})], "[0].retryStrategy.maxRetries: 11 is above 10"),
        ([None], "[0]: null is of type null, expected object"),
        ({}, "the body: {} is of type object, expected array"),
        (None, "the body: null is of type null, expected array"),
    ],
)
def test_the_place_the_value_and_what_was_expected(body: Any, says: str) -> None:
    assert explained(body) == says


@pytest.mark.parametrize(
    ("body", "begins"),
    [
        (definition(imageName="App"), '[0].htcJobDefinition.imageName: "App" '),
        (definition(imageName="h:5000/a"), '[0].htcJobDefinition.imageName: "h:5000/a" '),
        (definition(envs=[{"name": "RDF_X", "value": ""}]), '[0].htcJobDefinition.envs[0].name: "RDF_X" '),
        (definition(priority="HIGH"), '[0].htcJobDefinition.priority: "HIGH" '),
        (definition(architecture="ARM"), '[0].htcJobDefinition.architecture: "ARM" '),
        ([element(regions=["AWS_US_WEST_2", "MOON"])], '[0].regions[1]: "MOON" '),
        ([element(cloudProvider="X")], '[0].cloudProvider: "X" '),
    ],
)
def test_a_name_that_is_none_is_shown_at_its_place(body: Any, begins: str) -> None:
    assert explained(body).startswith(begins)


def test_a_very_long_value_is_cut() -> None:
    assert len(explained(definition(imageName="A" * 100_000))) < 1000


@given(st.text(), st.none() | st.binary())
def test_no_message_and_no_body_makes_it_fail(message: str, body: bytes | None) -> None:
    assert isinstance(explain(message, body), str)
