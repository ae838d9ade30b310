"""server.toml, agent-server.toml and agent.toml of an installation: what `up` tells its own programs."""

import json
import os
from collections.abc import Mapping

from openhtc.domain.regions import Region
from openhtc.embedded.foundation import Foundation
from openhtc.embedded.installation import Installation
from openhtc.embedded.layout import SHARED_WAY, DataLayout
from openhtc.embedded.options import UpOptions
from openhtc.embedded.own_programs import agent_data_seen_at
from openhtc.embedded.ports import LOOPBACK
from openhtc.embedded.private_files import private_directory, write_private
from openhtc.embedded.registry import ISSUER, SERVICE
from openhtc.embedded.s3 import BUCKET, REGION, REGION_BUCKETS, ROLE_ARN
from openhtc.settings.server import Serves
from openhtc.settings.source import ENVIRONMENT_PREFIX

Value = str | int | list[str] | dict[str, dict[str, str]]
Values = Mapping[str, Value]

LOCAL_REGIONS = (Region.AWS_US_WEST_2, Region.GCP_US_CENTRAL_1)
"""What the agent of this machine serves; the first is the default of projects."""


def api_origin(installation: Installation) -> str:
    return f"http://{LOOPBACK}:{installation.ports.api}"


def agents_origin(installation: Installation) -> str:
    return f"http://{LOOPBACK}:{installation.ports.agents}"


def server_values(installation: Installation, foundation: Foundation) -> dict[str, Value]:
    """Everything the server must be told on this machine; the rest has defaults."""
    secrets = installation.secrets
    return {
        "serves": Serves.USERS.value,
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
        "default_regions": [region.value for region in LOCAL_REGIONS],
        "storages": {region.value: {"bucket": bucket} for region, bucket in REGION_BUCKETS.items()},
    }


def agent_server_values(installation: Installation, foundation: Foundation) -> dict[str, Value]:
    """The same for the server that agents speak to."""
    return {
        **server_values(installation, foundation),
        "serves": Serves.AGENTS.value,
        "listen_port": installation.ports.agents,
    }


def agent_values(layout: DataLayout, installation: Installation, options: UpOptions) -> dict[str, Value]:
    """What the agent of this machine is told; capacities only when they were asked for."""
    values: dict[str, Value] = {
        "server_url": agents_origin(installation),
        "regions": [region.value for region in LOCAL_REGIONS],
        "key_file": str(layout.agent_key),
        "provider": "local",
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
    """Write them anew; they hold secrets and belong to their owner only."""
    # Users that jobs are mapped to reach their images through the agent's directory.
    private_directory(layout.part("agent"), mode=SHARED_WAY if os.geteuid() == 0 else 0o700)
    write_private(layout.server_settings, toml(server_values(installation, foundation)))
    write_private(layout.agent_server_settings, toml(agent_server_values(installation, foundation)))
    write_private(layout.agent_settings, toml(agent_values(layout, installation, options)))


def toml(values: Values) -> bytes:
    """Strings, whole numbers, lists of strings, and tables of tables, which come last. A JSON string or list of strings
    is one of TOML too.
    """
    lines = ["# Written at every start of openhtc."]
    lines += [
        f"{name} = {json.dumps(value)}" for name, value in values.items() if not isinstance(value, dict)
    ]
    for name, tables in values.items():
        if isinstance(tables, dict):
            for key, table in tables.items():
                lines.append(f"[{name}.{key}]")
                lines += [f"{member} = {json.dumps(text)}" for member, text in table.items()]
    return ("\n".join(lines) + "\n").encode()


def overrides(written: Values) -> dict[str, str]:
    """The settings in our environment that a program of this installation may have from there.

    What its settings file says is decided by the installation: a database URL exported for another service
    must not reach it.
    """
    fixed = {ENVIRONMENT_PREFIX + name.upper() for name in written}
    found = {name: value for name, value in os.environ.items() if name.startswith(ENVIRONMENT_PREFIX)}
    return {name: value for name, value in found.items() if name not in fixed}
