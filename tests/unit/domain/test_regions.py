"""Jobs are spread over regions by weight."""

from collections import Counter

import pytest

from openhtc.domain.regions import Region, SupportedRegion, spread

A, B, C = Region.AWS_US_WEST_2, Region.GCP_US_CENTRAL_1, Region.AWS_EU_WEST_1


@pytest.mark.parametrize("weights", [(1.0, 1.0), (3.0, 1.0), (0.5, 9.5), (1.0, 2.0, 7.0)])
@pytest.mark.parametrize("start", [0, 987_654])
def test_shares_are_those_of_the_weights(weights: tuple[float, ...], start: int) -> None:
    choice = list(zip((A, B, C), weights, strict=False))
    found = Counter(spread(choice, start + turn) for turn in range(1000))
    for region, weight in choice:
        assert found[region] / 1000 == pytest.approx(weight / sum(weights), abs=0.01)


def test_a_few_batches_are_mixed() -> None:
    assert {spread([(A, 1.0), (B, 1.0)], turn) for turn in range(7, 10)} == {A, B}


def test_without_weight_there_is_nothing_unless_all_are_without() -> None:
    assert {spread([(A, 0.0), (B, 1.0)], turn) for turn in range(100)} == {B}
    assert Counter(spread([(A, 0.0), (B, 0.0)], turn) for turn in range(100)) == {A: 50, B: 50}
    assert spread([(A, 0.0)], 5) is A


def test_every_supported_region_is_a_region() -> None:
    assert {region.value for region in SupportedRegion} < {region.value for region in Region}
