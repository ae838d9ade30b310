"""The agents' own operations: sessions, leases, reports. Not part of the public API."""

from litestar import post
from litestar.params import JSONBody

from openhtc.api.requests import Credential, WithAgent, WithAgentKey, WithServices
from openhtc.domain.work import AgentHello, AgentSession, LeaseAnswer, LeaseRequest, Report, ReportAnswer

MAX_REPORT_BYTES = 16 * 1024 * 1024
"""Reports are bounded by their items; each may have a reason of some kilobytes."""


@post("/agent/v1/session", status_code=200, include_in_schema=False, credential=Credential.AGENT_KEY)
async def open_session(
    services: WithServices, agent_key: WithAgentKey, data: JSONBody[AgentHello]
) -> AgentSession:
    return await services.leasing.open_session(data, agent_key)


@post("/agent/v1/renew", status_code=200, include_in_schema=False, credential=Credential.AGENT)
async def renew_session(services: WithServices, agent_no: WithAgent) -> AgentSession:
    return await services.leasing.renew_session(agent_no)


@post("/agent/v1/lease", status_code=200, include_in_schema=False, credential=Credential.AGENT)
async def lease_jobs(
    services: WithServices, agent_no: WithAgent, data: JSONBody[LeaseRequest]
) -> LeaseAnswer:
    return await services.leasing.lease(agent_no, data)


@post(
    "/agent/v1/report",
    status_code=200,
    include_in_schema=False,
    credential=Credential.AGENT,
    request_max_body_size=MAX_REPORT_BYTES,
)
async def report_jobs(services: WithServices, agent_no: WithAgent, data: JSONBody[Report]) -> ReportAnswer:
    return await services.reports.apply(agent_no, data)


HANDLERS = [open_session, renew_session, lease_jobs, report_jobs]
