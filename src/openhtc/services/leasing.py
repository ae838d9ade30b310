"""Gives jobs to agents and keeps track of who lives."""

import asyncio
import contextlib
from datetime import datetime, timedelta
from functools import partial

import msgspec

from openhtc.domain.dimensions import check_machine_type
from openhtc.domain.enums import Architecture
from openhtc.domain.errors import Forbidden, InvalidRequest, Unauthorized
from openhtc.domain.identity import AgentKey
from openhtc.domain.placement import choose, smaller
from openhtc.domain.regions import Region
from openhtc.domain.validation import check_text
from openhtc.domain.work import (
    AgentHello,
    AgentSession,
    LeaseAnswer,
    LeaseRequest,
    ObjectStoreAccess,
)
from openhtc.objects.grants import Grant
from openhtc.objects.store import ObjectStore
from openhtc.services.clock import Clock, micros
from openhtc.services.reports import hand_back
from openhtc.services.tokens import AGENT_TOKEN_LIFETIME, Tokens
from openhtc.services.work import WorkOrders
from openhtc.storage import leasing
from openhtc.storage.database import Connection, Database
from openhtc.storage.leasing import Granted
from openhtc.storage.wake import WorkSignal

MAX_LEASED = 1000
"""Jobs in one answer."""
MAX_WAIT_SECONDS = 30.0
_LOOK_AGAIN_SECONDS = 2.0
"""Work that another transaction held for a moment gives no signal of its own."""
_LOG_KEYS_SECONDS = 12 * 3600
_NATIVE_FOR = timedelta(seconds=2)


class Leasing:
    def __init__(
        self,
        database: Database,
        tokens: Tokens,
        objects: ObjectStore,
        orders: WorkOrders,
        signal: WorkSignal,
        clock: Clock,
        lease_seconds: int,
        *,
        strict_architecture: bool = False,
    ) -> None:
        self._database = database
        self._tokens = tokens
        self._objects = objects
        self._orders = orders
        self._signal = signal
        self._clock = clock
        self._lease_seconds = lease_seconds
        self._strict = strict_architecture
        self._native: tuple[datetime, list[str]] | None = None

    async def open_session(self, hello: AgentHello, key: AgentKey) -> AgentSession:
        """A new life of an agent, with a number of its own. Raises Forbidden for a region outside its key's."""
        _check_hello(hello, key)
        now = self._clock()
        former = await self._tokens.former_agent(hello.former) if hello.former else None
        async with self._database.transaction() as connection:
            number = await leasing.insert_agent(connection, hello, key.id, now, self._expiry(now), former)
        return await self._session(number, now)

    async def renew_session(self, agent_no: int) -> AgentSession:
        now = self._clock()
        async with self._database.transaction() as connection:
            await self._alive(connection, agent_no, now)
        return await self._session(agent_no, now)

    async def lease(self, agent_no: int, request: LeaseRequest) -> LeaseAnswer:
        """Work for an agent; waits for some when there is none.

        Raises Unauthorized when the agent was given up: it must open a new session.
        """
        deadline = asyncio.get_running_loop().time() + min(request.wait_seconds, MAX_WAIT_SECONDS)
        regions = await self._heard(agent_no)
        with self._signal.watch(regions) as woken:
            while True:
                woken.clear()
                now = self._clock()
                grant = partial(self._grant, agent_no=agent_no, request=request, now=now)
                granted = await self._database.run(grant)
                left = deadline - asyncio.get_running_loop().time()
                if granted or left <= 0 or self._signal.stopped:
                    return await self._deliver(granted, now)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(woken.wait(), min(left, _LOOK_AGAIN_SECONDS))

    async def _deliver(self, granted: list[Granted], now: datetime) -> LeaseAnswer:
        """The answer with the granted jobs; they go back to the queue when it cannot be made."""
        delivered = False
        try:
            answer = await self._orders.answer(granted, now)
            delivered = True
        finally:
            if not delivered:
                leases = [(grant.batch_no, grant.idx, grant.lease) for grant in granted]
                await asyncio.shield(self._database.run(partial(hand_back, leases=leases, now=self._clock())))
        return answer

    async def _grant(
        self, connection: Connection, agent_no: int, request: LeaseRequest, now: datetime
    ) -> list[Granted]:
        node = await leasing.hold_agent(connection, agent_no, now)
        if node is None:
            raise Unauthorized("this agent was given up: open a new session")
        # An agent asks for a little more than it can run at once; a single job must fit the node all the same.
        free = smaller(request.free, node.capacity)
        native = await self._native_architectures(connection, now)
        waiting = await leasing.waiting_batches(connection, node, free, native, strict=self._strict)
        if not waiting:
            return []
        active = await leasing.active_vcpus(connection, sorted({item.project for item in waiting}))
        shares = choose(waiting, active, request.free, min(request.max_jobs, MAX_LEASED))
        return await leasing.lease_jobs(connection, shares, agent_no, now)

    async def _native_architectures(self, connection: Connection, now: datetime) -> list[str]:
        """Read now and then: nodes come and go slowly, and a lease is asked for often."""
        if self._native is None or abs(now - self._native[0]) > _NATIVE_FOR:
            self._native = now, await leasing.native_architectures(connection, now)
        return self._native[1]

    async def _heard(self, agent_no: int) -> list[str]:
        """Notes that the agent lives; returns its regions."""
        async with self._database.transaction() as connection:
            return await self._alive(connection, agent_no, self._clock())

    async def _alive(self, connection: Connection, agent_no: int, now: datetime) -> list[str]:
        renewed = await leasing.renew_agent(connection, agent_no, now, self._expiry(now))
        if renewed is None:
            raise Unauthorized("this agent was given up: open a new session")
        return renewed

    def _expiry(self, now: datetime) -> datetime:
        return now + timedelta(seconds=self._lease_seconds)

    async def _session(self, agent_no: int, now: datetime) -> AgentSession:
        prefix = f"logs/{agent_no}/"
        grants = [Grant(prefix, write=True)]
        keys = await self._objects.temporary_keys(grants, _LOG_KEYS_SECONDS, f"agent-{agent_no}")
        token = self._tokens.agent_token(await self._tokens.keys(), agent_no, now)
        return AgentSession(
            agent=agent_no,
            token=token,
            expires_at=micros(now + AGENT_TOKEN_LIFETIME),
            lease_seconds=self._lease_seconds,
            logs=ObjectStoreAccess(
                endpoint=self._objects.endpoint,
                region=self._objects.region,
                bucket=self._objects.bucket,
                prefix=prefix,
                access_key_id=keys.access_key_id,
                secret_access_key=keys.secret_access_key,
                session_token=keys.session_token,
                expires_at=micros(keys.expires_at),
            ),
            api_url=self._orders.api_url,
            now=micros(now),
        )


def _check_hello(hello: AgentHello, key: AgentKey) -> None:
    for name, value in msgspec.to_builtins(hello).items():
        check_text(name, value)
    check_machine_type("machine_type", hello.machine_type)
    if hello.architecture not in Architecture.__members__:
        raise InvalidRequest(f"architecture: {hello.architecture!r} is none of {', '.join(Architecture)}")
    if not hello.regions:
        raise InvalidRequest("regions: expected at least one")
    for region in hello.regions:
        if region not in Region.__members__:
            raise InvalidRequest(f"regions: {region!r} is not a region")
        if key.regions is not None and region not in key.regions:
            raise Forbidden(f"this agent key serves {', '.join(key.regions)}, not {region}")
