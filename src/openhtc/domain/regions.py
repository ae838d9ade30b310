"""The regions that the API knows; an operator maps each one in use to a provider."""

from collections.abc import Sequence
from enum import StrEnum

from openhtc.domain.enums import CloudProvider


class Region(StrEnum):
    """Every region that an answer may name."""

    AWS_AP_SOUTHEAST_1 = "AWS_AP_SOUTHEAST_1"
    AWS_CA_CENTRAL_1 = "AWS_CA_CENTRAL_1"
    AWS_EU_NORTH_1 = "AWS_EU_NORTH_1"
    AWS_EU_CENTRAL_1 = "AWS_EU_CENTRAL_1"
    AWS_EU_WEST_1 = "AWS_EU_WEST_1"
    AWS_EU_WEST_2 = "AWS_EU_WEST_2"
    AWS_EU_WEST_3 = "AWS_EU_WEST_3"
    AWS_SA_EAST_1 = "AWS_SA_EAST_1"
    AWS_US_EAST_2 = "AWS_US_EAST_2"
    AWS_US_WEST_2 = "AWS_US_WEST_2"
    AWS_US_EAST_1 = "AWS_US_EAST_1"
    GCP_ASIA_SOUTHEAST_1 = "GCP_ASIA_SOUTHEAST_1"
    GCP_US_CENTRAL_1 = "GCP_US_CENTRAL_1"
    GCP_US_EAST_1 = "GCP_US_EAST_1"
    GCP_US_EAST_2 = "GCP_US_EAST_2"
    GCP_US_EAST_4 = "GCP_US_EAST_4"
    GCP_US_WEST_1 = "GCP_US_WEST_1"
    GCP_US_WEST_4 = "GCP_US_WEST_4"
    GCP_EU_WEST_1 = "GCP_EU_WEST_1"
    GCP_EU_WEST_2 = "GCP_EU_WEST_2"
    GCP_EU_WEST_3 = "GCP_EU_WEST_3"
    GCP_EU_WEST_4 = "GCP_EU_WEST_4"
    GCP_CA_CENTRAL_1 = "GCP_CA_CENTRAL_1"
    NGC_ENOCH_1 = "NGC_ENOCH_1"
    AZURE_US_WEST_2 = "AZURE_US_WEST_2"
    AZURE_US_EAST_2 = "AZURE_US_EAST_2"
    AZURE_US_SOUTHCENTRAL = "AZURE_US_SOUTHCENTRAL"
    AZURE_EU_NORTH = "AZURE_EU_NORTH"
    RC_ICELAND_1 = "RC_ICELAND_1"
    COREWEAVE_US_EAST_4 = "COREWEAVE_US_EAST_4"
    UNASSIGNED = "UNASSIGNED"

    @property
    def cloud_provider(self) -> CloudProvider:
        """The cloud that the region's name begins with."""
        return CloudProvider(self.value.split("_", 1)[0])


_GOLDEN = (5**0.5 - 1) / 2


def spread(choice: Sequence[tuple[Region, float]], turn: int) -> Region:
    """The region of the ``turn``-th batch: over many turns each gets its weight's share, evenly mixed.

    A region without weight gets nothing while another one has some. Multiples of the golden ratio lie so evenly
    between 0 and 1 that the shares are right after few turns already.
    """
    total = sum(weight for _, weight in choice)
    if total <= 0:
        return choice[turn % len(choice)][0]
    point = (turn * _GOLDEN) % 1.0 * total
    for region, weight in choice:
        point -= weight
        if point < 0:
            return region
    return max(choice, key=lambda item: item[1])[0]


class SupportedRegion(StrEnum):
    """The regions that a path may name."""

    AWS_AP_SOUTHEAST_1 = "AWS_AP_SOUTHEAST_1"
    AWS_CA_CENTRAL_1 = "AWS_CA_CENTRAL_1"
    AWS_EU_NORTH_1 = "AWS_EU_NORTH_1"
    AWS_EU_CENTRAL_1 = "AWS_EU_CENTRAL_1"
    AWS_EU_WEST_1 = "AWS_EU_WEST_1"
    AWS_EU_WEST_2 = "AWS_EU_WEST_2"
    AWS_EU_WEST_3 = "AWS_EU_WEST_3"
    AWS_SA_EAST_1 = "AWS_SA_EAST_1"
    AWS_US_EAST_2 = "AWS_US_EAST_2"
    AWS_US_WEST_2 = "AWS_US_WEST_2"
    AWS_US_EAST_1 = "AWS_US_EAST_1"
    GCP_ASIA_SOUTHEAST_1 = "GCP_ASIA_SOUTHEAST_1"
    GCP_US_CENTRAL_1 = "GCP_US_CENTRAL_1"
    GCP_US_EAST_1 = "GCP_US_EAST_1"
    GCP_US_EAST_2 = "GCP_US_EAST_2"
    GCP_US_EAST_4 = "GCP_US_EAST_4"
    GCP_US_WEST_1 = "GCP_US_WEST_1"
    GCP_US_WEST_4 = "GCP_US_WEST_4"
    GCP_EU_WEST_1 = "GCP_EU_WEST_1"
    GCP_EU_WEST_2 = "GCP_EU_WEST_2"
    GCP_EU_WEST_3 = "GCP_EU_WEST_3"
    GCP_EU_WEST_4 = "GCP_EU_WEST_4"
    GCP_CA_CENTRAL_1 = "GCP_CA_CENTRAL_1"
    AZURE_US_WEST_2 = "AZURE_US_WEST_2"
    AZURE_US_SOUTHCENTRAL = "AZURE_US_SOUTHCENTRAL"
