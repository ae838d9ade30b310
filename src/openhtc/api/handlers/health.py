"""Whether this server can serve."""

from litestar import get

from openhtc.api.requests import Credential, WithServices


@get("/healthz", include_in_schema=False, credential=Credential.NONE)
async def get_health(services: WithServices) -> dict[str, str]:
    """200 while the database answers, 503 otherwise."""
    await services.database.check()
    return {"status": "ok"}


HANDLERS = [get_health]
