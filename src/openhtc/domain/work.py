"""What servers and agents say to each other, as JSON over HTTP.

An agent opens a session with its agent key, then leases jobs and reports on them in bundles.
All times are integers: microseconds since the epoch, UTC, except in log lines (nanoseconds).
"""

from typing import Annotated

import msgspec

from openhtc.domain.enums import Outcome

Small = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
Large = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""Numbers that the database can hold: one that it cannot is refused by itself, with the item's place."""


class Capacity(msgspec.Struct, frozen=True):
    """An amount of a node's resources: a node's whole, what is free, or what one job takes."""

    vcpus: Small
    memory_mib: Small
    disk_gib: Small


class AgentHello(msgspec.Struct, frozen=True):
    """POST /agent/v1/session, with ``Authorization: Token <agent key>``."""

    name: str
    regions: list[str]
    """The regions whose jobs this node may run."""
    capacity: Capacity
    architecture: str
    runtime: str
    version: str
    provider: str = "local"
    machine_type: str = "local"
    """What kind of node this is, as dimensions name it."""
    hyperthreading: bool = False
    limits_missing: list[str] = []
    """What this node cannot enforce, each as a short sentence for the operator."""
    former: str = ""
    """The token of the session before this one, expired or not: proof that this is the same agent, started again, which
    may report what it did in that session."""


class ObjectStoreAccess(msgspec.Struct, frozen=True):
    """Temporary keys with which an agent writes log objects, and only those."""

    endpoint: str
    region: str
    bucket: str
    prefix: str
    """Every key the agent writes begins with this, e.g. ``logs/7/``."""
    access_key_id: str
    secret_access_key: str
    session_token: str
    expires_at: int


class AgentSession(msgspec.Struct, frozen=True):
    """The answer to AgentHello and to POST /agent/v1/renew (same shape, fresh token and keys)."""

    agent: int
    token: str
    expires_at: int
    lease_seconds: int
    """The agent's leases expire when nothing was heard from it for so long."""
    logs: ObjectStoreAccess
    api_url: str = ""
    """Where jobs reach the API; empty from a server that does not say, which is then the API's itself."""
    now: int = 0
    """The server's time, from which ``expires_at`` counts whatever the agent's own clock says; 0: not said."""


class ImageSource(msgspec.Struct, frozen=True):
    """Where an image is pulled from: ``GET {url}/v2/{repository}/manifests/{digest}``."""

    url: str
    repository: str
    digest: str
    token: str
    """A registry bearer token for pulling from this one repository, valid for about an hour."""


class BatchWork(msgspec.Struct, frozen=True):
    """What all jobs of a batch share."""

    batch: int
    parent_job_id: str
    image: ImageSource
    commands: list[str]
    """Empty: the image's own command. Otherwise it replaces the image's command."""
    working_dir: str | None
    envs: list[tuple[str, str]]
    """Injected and user's variables that are the same for every job of the batch, in order."""
    needs: Capacity
    exec_timeout_seconds: int


class JobLease(msgspec.Struct, frozen=True):
    """The right to one attempt at one job."""

    lease: int
    """Fencing token: unique for each attempt, increasing over time."""
    batch: int
    index: int
    attempt: int
    """Counts from 1."""
    envs: list[tuple[str, str]]
    """Variables of this job alone: its index, ids and tokens. They win over the batch's."""
    log_floor_ns: int = 0
    """Log lines of this attempt must be later than this."""


class LeaseRequest(msgspec.Struct, frozen=True):
    """POST /agent/v1/lease. Answered at once when there is work, else after at most wait_seconds."""

    free: Capacity
    max_jobs: Small
    wait_seconds: float
    images: list[str] = []
    """Digests that the node has unpacked."""
    remaining_seconds: int | None = None
    """How long the node will still live; None when nobody knows."""


class LeaseAnswer(msgspec.Struct, frozen=True):
    batches: list[BatchWork]
    jobs: list[JobLease]


class Usage(msgspec.Struct, frozen=True):
    cpu_ms: Large = 0
    max_memory_mib: Small = 0


class JobReport(msgspec.Struct, frozen=True):
    """News of one attempt. A start and an end may come together or apart."""

    lease: Large
    batch: Large
    index: Small
    started_at: int | None = None
    """When the container began to run; None while it never did."""
    ended_at: int | None = None
    """Set together with outcome."""
    outcome: Outcome | None = None
    exit_code: Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)] | None = None
    reason: str | None = None
    """A sentence for the user, e.g. what made the start impossible."""
    usage: Usage | None = None


class LogChunk(msgspec.Struct, frozen=True):
    """Where a run of log lines of one attempt lies: a slice of an object that holds many such."""

    lease: Large
    batch: Large
    index: Small
    key: str
    offset: Small
    length: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
    lines: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
    first_ns: Large
    last_ns: Large


class Report(msgspec.Struct, frozen=True):
    """POST /agent/v1/report, about every 200 ms or 500 items, and as heartbeat when there is no news.

    Safe to repeat: everything in it is judged by its fencing token. The chunks of an attempt are
    applied before the attempt's end in the same report.
    """

    jobs: list[JobReport] = []
    chunks: list[LogChunk] = []
    held: list[Large] | None = None
    """All leases that the agent holds, sent with every heartbeat (at least every lease_seconds / 4).
    The server takes back leases of this agent that are missing here and older than lease_seconds: the answer
    that granted them got lost."""
    stopping: bool = False
    """The agent takes no more work: leases that are missing in ``held`` are taken back at once."""


class ReportAnswer(msgspec.Struct, frozen=True):
    stop: list[int] = []
    """Leases whose jobs are to be stopped now (cancelled); report them as CANCELLED."""
    preempt: list[int] = []
    """Leases whose jobs are to make room for others; report them as PREEMPTED."""
    gone: list[int] = []
    """Leases in the report or in ``held`` that are not valid any more: stop those jobs and forget them."""
