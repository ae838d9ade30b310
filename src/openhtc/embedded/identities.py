"""Migrates the database and makes the first user and the agent's key, however often `up` was interrupted."""

import asyncio
import json
from collections.abc import Mapping

import msgspec

from openhtc.domain.errors import SettingsError
from openhtc.embedded.layout import DataLayout
from openhtc.embedded.own_programs import openhtc_command
from openhtc.embedded.private_files import write_private

COMMAND_SECONDS = 3600.0
"""A new release may have to make an index of very many jobs."""


class Bootstrapped(msgspec.Struct, frozen=True):
    """What `openhtc admin bootstrap` prints."""

    api_key: str
    workspace_id: str
    user_id: str
    agent_key: str


class Credentials(msgspec.Struct, frozen=True):
    """DATA/credentials.json: what a client needs, and the registry as host:port."""

    base_url: str
    api_key: str
    workspace_id: str
    registry: str


def read_credentials(layout: DataLayout) -> Credentials | None:
    """None when there are none, or when they are not readable as such."""
    try:
        return msgspec.json.decode(layout.credentials.read_bytes(), type=Credentials)
    except (OSError, msgspec.DecodeError):
        return None


async def ensure_identities(
    layout: DataLayout, *, origin: str, registry: str, env: Mapping[str, str]
) -> Credentials:
    """Migrated database, credentials.json and the agent's key in place. Raises SettingsError.

    The agent's key is written first and credentials.json last. While one of them is missing nobody can hold
    the keys, so they are made anew and the former ones are revoked.
    """
    settings = str(layout.server_settings)
    found = read_credentials(layout)
    if found is None or not layout.agent_key.exists():
        printed = await _run(layout, env, "bootstrap", "--settings", settings, "--rotate")
        made = msgspec.json.decode(_last_line(printed), type=Bootstrapped)
        write_private(layout.agent_key, f"{made.agent_key}\n".encode())
        api_key, workspace_id = made.api_key, made.workspace_id
    else:
        await _run(layout, env, "migrate", "--settings", settings)
        api_key, workspace_id = found.api_key, found.workspace_id
    wanted = Credentials(
        base_url=f"{origin}/api/v1", api_key=api_key, workspace_id=workspace_id, registry=registry
    )
    if wanted != found:
        document = json.dumps(msgspec.to_builtins(wanted), indent=2) + "\n"
        write_private(layout.credentials, document.encode())
    return wanted


async def _run(layout: DataLayout, env: Mapping[str, str], verb: str, *arguments: str) -> bytes:
    """What `openhtc admin VERB` prints. Raises SettingsError with the end of its standard error."""
    command = openhtc_command("admin", verb, *arguments, env=env)
    process = await asyncio.create_subprocess_exec(
        *command.args,
        env=command.env,
        cwd=command.cwd,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(COMMAND_SECONDS):
            printed, said = await process.communicate()
    except TimeoutError as error:
        raise SettingsError(f"openhtc admin {verb} did not end within {COMMAND_SECONDS:.0f} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    with layout.log("admin").open("ab") as log:
        log.write(said)
    if process.returncode != 0:
        tail = "\n  ".join(said.decode(errors="replace").splitlines()[-10:])
        raise SettingsError(f"openhtc admin {verb} failed with exit code {process.returncode}:\n  {tail}")
    return printed


def _last_line(printed: bytes) -> bytes:
    lines = printed.strip().splitlines()
    if not lines:
        raise SettingsError("openhtc admin bootstrap printed nothing")
    return lines[-1]
