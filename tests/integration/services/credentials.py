"""Credentials of every kind."""

import base64
from datetime import timedelta

from openhtc.domain.identity import JobScope, User
from openhtc.services.administration import Administration

from .conftest import Core

ACTOR = "operator:test"


def administration(core: Core) -> Administration:
    return Administration(core.world.database, core.world.clock, ACTOR)


async def running_job(core: Core, user: User) -> JobScope:
    task = await core.world.task(user)
    batch = await core.world.batch(task)
    await core.world.grant(await core.world.agent(), (batch, 1))
    return JobScope(task.project, task.id, batch.id, 0)


def as_password(header: str) -> str:
    """How docker shows a registry token."""
    secret = header.partition(" ")[2]
    return "Basic " + base64.b64encode(f"AWS:{secret}".encode()).decode()


async def every_kind(core: Core, user: User) -> dict[str, str]:
    """One valid credential of each kind, as the header would say it."""
    now = core.world.clock.now
    keys = await core.tokens.keys()
    scope = await running_job(core, user)
    admin = administration(core)
    hour = timedelta(hours=1)
    return {
        "api_key": f"Token {(await admin.create_key('api_key', user.id, ''))[1]}",
        "refresh": f"Refresh {(await admin.create_key('refresh_token', user.id, ''))[1]}",
        "agent_key": f"Token {(await admin.create_key('agent_key', None, ''))[1]}",
        "user": f"Bearer {core.tokens.user_token(keys, user, now)}",
        "job": f"Bearer {core.tokens.job_token(keys, user, scope, now, hour)}",
        "agent": f"Bearer {core.tokens.agent_token(keys, 7, now)}",
        "registry": f"Bearer {core.tokens.registry_token(keys, user, scope.project_id, now)}",
    }
