"""What an installation decided once and keeps: its ports and its secrets."""

import base64
import secrets

import msgspec

from openhtc.domain.errors import SettingsError
from openhtc.embedded import ports
from openhtc.embedded.layout import DataLayout
from openhtc.embedded.private_files import write_private

DEFAULT_API_PORT = 8080


class Ports(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Loopback ports; those of SeaweedFS each have a second one 10000 above."""

    api: int
    postgres: int
    registry: int
    s3: int
    s3_master: int
    s3_volume: int
    s3_filer: int
    agents: int = 0
    """Where agents find their server; 0 in what a program wrote that had none for them, until the next start."""


class Secrets(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Random values, made once; signing keys must stay or what they signed dies."""

    postgres_superuser_password: str
    postgres_password: str
    s3_access_key: str
    s3_secret_key: str
    sts_signing_key: str
    s3_internal_key: str
    registry_http_secret: str
    server_secret_key: str

    def __repr__(self) -> str:
        return "Secrets(...)"


class Installation(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The content of DATA/installation.json."""

    ports: Ports
    secrets: Secrets


def open_installation(layout: DataLayout, api_port: int | None) -> Installation:
    """The installation in ``layout``, made when there is none.

    ``api_port`` None keeps the port it had (8080 for a new one); another number is remembered from now on.
    """
    if not layout.installation.exists():
        made = Installation(ports=choose_ports(api_port or DEFAULT_API_PORT), secrets=new_secrets())
        return save_installation(layout, made)
    found = read_installation(layout)
    wanted = msgspec.structs.replace(found.ports, api=api_port or found.ports.api)
    if not wanted.agents:
        taken = set(msgspec.structs.astuple(wanted))
        wanted = msgspec.structs.replace(wanted, agents=ports.choose(taken))
    if wanted == found.ports:
        return found
    return save_installation(layout, msgspec.structs.replace(found, ports=wanted))


def read_installation(layout: DataLayout) -> Installation:
    """Raises SettingsError when the file is missing, unreadable or not what this program wrote."""
    try:
        return msgspec.json.decode(layout.installation.read_bytes(), type=Installation)
    except OSError as error:
        raise SettingsError(f"cannot read {layout.installation}: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise SettingsError(f"{layout.installation} is damaged: {error}") from error


def choose_ports(api: int) -> Ports:
    """Free ports for everything but the API, whose port is given."""
    taken = {api}
    return Ports(
        api=api,
        postgres=ports.choose(taken),
        registry=ports.choose(taken),
        s3=ports.choose(taken, with_grpc=True),
        s3_master=ports.choose(taken, with_grpc=True),
        s3_volume=ports.choose(taken, with_grpc=True),
        s3_filer=ports.choose(taken, with_grpc=True),
        agents=ports.choose(taken),
    )


def new_secrets() -> Secrets:
    return Secrets(
        postgres_superuser_password=secrets.token_hex(24),
        postgres_password=secrets.token_hex(24),
        s3_access_key="OHTC" + secrets.token_hex(8).upper(),
        s3_secret_key=secrets.token_hex(24),
        sts_signing_key=base64.b64encode(secrets.token_bytes(32)).decode(),
        s3_internal_key=secrets.token_hex(24),
        registry_http_secret=secrets.token_hex(24),
        server_secret_key=secrets.token_hex(32),
    )


def save_installation(layout: DataLayout, installation: Installation) -> Installation:
    write_private(
        layout.installation, msgspec.json.format(msgspec.json.encode(installation), indent=2) + b"\n"
    )
    return installation
