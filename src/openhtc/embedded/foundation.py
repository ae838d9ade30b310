"""The three parts below the server, made for one installation."""

from dataclasses import dataclass

from openhtc.embedded.installation import Installation
from openhtc.embedded.layout import DataLayout
from openhtc.embedded.part import Part
from openhtc.embedded.postgres import PostgresPart
from openhtc.embedded.registry import RegistryPart
from openhtc.embedded.s3 import S3Part


@dataclass(frozen=True, slots=True)
class Foundation:
    """State, objects and images."""

    postgres: PostgresPart
    s3: S3Part
    registry: RegistryPart

    @property
    def parts(self) -> tuple[Part, ...]:
        return (self.postgres, self.s3, self.registry)


def make_foundation(layout: DataLayout, installation: Installation) -> Foundation:
    """The parts as objects; nothing is started or written."""
    postgres = PostgresPart(
        layout.part("postgres"),
        installation.ports.postgres,
        superuser_password=installation.secrets.postgres_superuser_password,
        password=installation.secrets.postgres_password,
        log=layout.log("postgres"),
    )
    return Foundation(
        postgres=postgres,
        s3=S3Part(layout.part("s3"), installation, log=layout.log("s3")),
        registry=RegistryPart(layout.part("registry"), installation, log=layout.log("registry")),
    )
