"""server.toml and agent.toml of an installation: what `up` tells its two own programs."""

import json
import os
from collections.abc import Mapping

from openhtc.embedded.foundation import Foundation
from openhtc.embedded.installation import Installation
from openhtc.embedded.layout import SHARED_WAY, DataLayout
from openhtc.embedded.options import UpOptions
from openhtc.embedded.own_programs import agent_data_seen_at
from openhtc.embedded.ports import LOOPBACK
from openhtc.embedded.private_files import private_directory, write_private
from openhtc.embedded.registry import ISSUER, SERVICE
from openhtc.embedded.s3 import BUCKET, REGION, ROLE_ARN
from openhtc.settings.source import ENVIRONMENT_PREFIX

Values = Mapping[str, str | int]


def api_origin(installation: Installation) -> str:
    return f"http://{LOOPBACK}:{installation.ports.api}"


def server_values(installation: Installation, foundation: Foundation) -> dict[str, str | int]:
    """Everything the server must be told on this machine; the rest has defaults."""
    secrets = installation.secrets
    return {
        "listen_host": LOOPBACK,
        "listen_port": installation.ports.api,
        "public_url": api_origin(installation),
        "database_url": foundation.postgres.url,
        "s3_endpoint": foundation.s3.address,
        "s3_region": REGION,
        "s3_bucket": BUCKET,
        "s3_access_key": secrets.s3_access_key,
        "s3_secret_key": secrets.s3_secret_key,
        "sts_endpoint": foundation.s3.address,
        "sts_role_arn": ROLE_ARN,
        "registry_url": foundation.registry.address,
        "registry_host": foundation.registry.host,
        "registry_service": SERVICE,
        "registry_issuer": ISSUER,
        "registry_key_file": str(foundation.registry.key_file),
        "secret_key": secrets.server_secret_key,
    }


def agent_values(layout: DataLayout, installation: Installation, options: UpOptions) -> dict[str, str | int]:
    """What the agent of this machine is told; capacities only when they were asked for."""
    values: dict[str, str | int] = {
        "server_url": api_origin(installation),
        "key_file": str(layout.agent_key),
        "data_dir": str(agent_data_seen_at(layout)),
        "status_file": str(layout.agent_status),
        "runtime": options.runtime,
        "network": options.network,
    }
    if options.vcpus is not None:
        values["vcpus"] = options.vcpus
    if options.memory_mib is not None:
        values["memory_mib"] = options.memory_mib
    return values


def write_settings(
    layout: DataLayout, installation: Installation, foundation: Foundation, options: UpOptions
) -> None:
    """Write both files anew; they hold secrets and belong to their owner only."""
    # Users that jobs are mapped to reach their images through the agent's directory.
    private_directory(layout.part("agent"), mode=SHARED_WAY if os.geteuid() == 0 else 0o700)
    write_private(layout.server_settings, toml(server_values(installation, foundation)))
    write_private(layout.agent_settings, toml(agent_values(layout, installation, options)))


def toml(values: Values) -> bytes:
    """Strings and whole numbers as TOML; a JSON string is a TOML basic string."""
    lines = ["# Written at every start of openhtc."]
    lines += [f"{name} = {json.dumps(value)}" for name, value in values.items()]
    return ("\n".join(lines) + "\n").encode()


def overrides(written: Values) -> dict[str, str]:
    """The settings in our environment that a program of this installation may have from there.

    What its settings file says is decided by the installation: a database URL exported for another service
    must not reach it.
    """
    fixed = {ENVIRONMENT_PREFIX + name.upper() for name in written}
    found = {name: value for name, value in os.environ.items() if name.startswith(ENVIRONMENT_PREFIX)}
    return {name: value for name, value in found.items() if name not in fixed}
