"""Users wait at the door in turn, agents do not, and nobody holds a place for nothing."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, ClassVar

import pytest

from openhtc.lifecycle.turns import outside
from openhtc.server import places, turnstile
from openhtc.server.places import Places, Visit
from openhtc.server.turnstile import Turnstile


class House:
    """An application that serves each request until it is let go."""

    def __init__(self) -> None:
        self.inside: list[str] = []
        self.served: list[str] = []
        self.bodies: list[bytes] = []
        self.doors: dict[str, asyncio.Event] = {}

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        name = scope["path"]
        self.inside.append(name)
        if scope.get("reads"):
            while True:
                message = await receive()
                self.bodies.append(message.get("body", b""))
                if not message.get("more_body"):
                    break
        if scope.get("sleeps"):
            async with outside():
                await self.doors.setdefault(name, asyncio.Event()).wait()
        else:
            await self.doors.setdefault(name, asyncio.Event()).wait()
        self.inside.remove(name)
        self.served.append(name)
        await send({"type": "http.response.start", "status": 200})

    def let_go(self, name: str) -> None:
        self.doors.setdefault(name, asyncio.Event()).set()


class Client:
    """One request and what it hears."""

    all: ClassVar[list["Client"]] = []

    def __init__(
        self,
        door: Turnstile,
        path: str,
        *,
        body_follows: bool = False,
        reads: bool = False,
        sleeps: bool = False,
    ) -> None:
        self.path = path
        self.sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.heard: list[dict[str, Any]] = []
        self.done = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self._door = door
        self._scope = {"type": "http", "path": path, "headers": [], "reads": reads, "sleeps": sleeps}
        self.takes = True
        self._has_left = False
        self.all.append(self)
        if not body_follows:
            self.say({"type": "http.request", "body": b"", "more_body": False})
        door.come(self)

    def say(self, message: dict[str, Any]) -> None:
        self.sent.put_nowait(message)

    def go_away(self) -> None:
        self._has_left = True
        self.say({"type": "http.disconnect"})

    def is_gone(self) -> bool:
        return self._has_left

    def has_news(self) -> bool:
        return not self.sent.empty()

    def has_room(self) -> bool:
        return self.takes

    def begin(self, visit: Visit | None) -> None:
        assert not self.heard and self.task is None and not self._has_left
        self.task = asyncio.ensure_future(
            self._door(self._scope | {turnstile.VISIT: visit}, self.sent.get, self._hear)
        )
        self.task.add_done_callback(lambda task: self.done.set())

    def refuse(self) -> None:
        assert not self.heard and self.task is None and not self._has_left
        self.heard.append({"status": 503})
        self.done.set()

    async def _hear(self, message: dict[str, Any]) -> None:
        while not self.takes:
            await asyncio.sleep(0)
        self.heard.append(message)

    async def ended(self) -> None:
        await asyncio.wait_for(self.done.wait(), 5)

    @property
    def status(self) -> int | None:
        return self.heard[0]["status"] if self.heard else None


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture(autouse=True)
async def nobody_left() -> AsyncIterator[None]:
    yield
    for client in Client.all:
        client.go_away()
    tasks = [client.task for client in Client.all if client.task is not None]
    Client.all.clear()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
def door(house: House) -> Turnstile:
    return Turnstile(house, at_once=2, connections=6, patience_seconds=5)


async def test_users_are_served_in_turn_and_agents_at_once(house: House, door: Turnstile) -> None:
    clients = [Client(door, f"/{n}") for n in range(4)]
    Client(door, "/agent/v1/report")
    await settle()
    assert house.inside == ["/0", "/1", "/agent/v1/report"]
    house.let_go("/1")
    await settle()
    assert house.inside == ["/0", "/agent/v1/report", "/2"]
    for n in (0, 2, 3):
        house.let_go(f"/{n}")
    await settle()
    assert [client.status for client in clients] == [200] * 4
    assert house.served == ["/1", "/0", "/2", "/3"]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is kept back for long."""
    monkeypatch.setattr(turnstile, "RETRY_AFTER_SECONDS", 0.01)
    monkeypatch.setattr(turnstile, "_SOON_SECONDS", 0.01)
    monkeypatch.setattr(places, "_LOOK_SECONDS", 0.01)


@pytest.mark.usefixtures("impatient")
async def test_too_many_are_refused(house: House) -> None:
    door = Turnstile(house, at_once=2, connections=6, patience_seconds=5)
    clients = [Client(door, f"/{n}") for n in range(6)]
    await clients[-1].ended()
    assert [client.status for client in clients] == [None] * 5 + [503]
    house.let_go("/0")
    await settle()
    assert "/2" in house.inside, "what was let in before goes on"


class Anybody:
    path = "/x"

    def is_gone(self) -> bool:
        return False

    def has_news(self) -> bool:
        return True

    def has_room(self) -> bool:
        return True

    def begin(self, visit: Visit | None) -> None: ...

    def refuse(self) -> None: ...


async def test_a_rate_is_learnt_while_there_is_always_somebody() -> None:
    given = Places(1, 100, lambda guest: None)
    until = asyncio.get_running_loop().time() + 60

    def come(number: int) -> None:
        for _ in range(number):
            given.wait(Visit(Anybody(), given, patient=False), until)

    def give(number: int) -> None:
        for _ in range(number):
            given.pass_on()

    come(31)
    assert given.waiting == 30
    for n in range(1, 21):
        give(1)
        given.learn(given._learnt_at + 1)
        assert abs(given.per_second - (1 + 99 * 0.8**n)) < 0.01, "one a second"
    slow = given.per_second
    give(10)
    given.learn(given._learnt_at + 0.1)
    assert given.per_second > slow + 15, "ten in a tenth of a second"
    known = given.per_second
    come(1)
    give(2)
    given.learn(given._learnt_at + 1)
    assert given.per_second == known, "one was given, because nobody else waited"
    come(41)
    give(41)
    assert given._was_free
    given.learn(given._learnt_at + 1)
    assert given.per_second > known, "as many at least"
    for _ in range(40):
        given._given = 10_000
        given.learn(given._learnt_at + 0.001)
    assert given.per_second <= 100


async def test_no_more_wait_than_can_be_served_in_time(house: House) -> None:
    door = Turnstile(house, at_once=1, connections=1000, patience_seconds=5)
    door.places.per_second = 2
    clients = [Client(door, f"/{n}") for n in range(9)]
    await settle()
    assert (door.places.waiting, door.kept_back) == (7, 1), "in 3.5 of 5 seconds"
    for n in range(9):
        house.let_go(f"/{n}")
    for client in clients[:8]:
        await client.ended()
    assert [client.status for client in clients[:8]] == [200] * 8


async def test_who_is_kept_back_is_let_in_when_there_is_room(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turnstile, "RETRY_AFTER_SECONDS", 0.1)
    door = Turnstile(house, at_once=1, connections=4, patience_seconds=5)
    clients = [Client(door, f"/{n}") for n in range(4)]
    await settle()
    for n in range(4):
        house.let_go(f"/{n}")
    for client in clients:
        await client.ended()
    assert [client.status for client in clients] == [200] * 4


async def test_who_is_refused_waits_for_it(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turnstile, "_SOON_SECONDS", 0.02)
    monkeypatch.setattr(turnstile, "RETRY_AFTER_SECONDS", 0.2)
    door = Turnstile(house, at_once=1, connections=16, patience_seconds=5)
    began = asyncio.get_running_loop().time()
    clients = [Client(door, f"/{n}") for n in range(15)]
    await settle()
    told = [client.status for client in clients]
    assert told == [None] * 14 + [503], "one inside, eight who wait, five kept back, two places for tokens"
    await clients[13].ended()
    assert [client.status for client in clients[9:13]] == [None] * 4
    for client in clients[9:13]:
        await client.ended()
    assert asyncio.get_running_loop().time() - began >= 0.2
    assert [clients[n].status for n in range(9, 14)] == [503] * 5
    assert (door.kept_back, door.places.waiting) == (0, 8)


async def test_the_first_of_many_that_are_refused_wait_longest(house: House) -> None:
    door = Turnstile(house, at_once=1, connections=32, patience_seconds=5)
    for n in range(40):
        Client(door, f"/{n}")
    await settle()
    assert (door.places.waiting, len(door._kept_long.guests), len(door._kept_soon.guests)) == (16, 8, 2)


@pytest.mark.usefixtures("impatient")
async def test_who_asks_for_a_token_is_not_sent_away_for_the_crowd(house: House) -> None:
    door = Turnstile(house, at_once=2, connections=16, patience_seconds=5)
    crowd = [Client(door, f"/{n}") for n in range(11)]
    await crowd[10].ended()
    assert crowd[10].status == 503
    tokens = [Client(door, "/api/v1/auth/token") for _ in range(3)]
    await asyncio.sleep(0.1)
    assert (door.places.patient, door.kept_back) == (2, 1), "two in line, one that tries again and again"
    tokens[0].go_away()
    async with asyncio.timeout(5):
        while door.kept_back:
            await asyncio.sleep(0.01)
    assert door.places.patient == 2 and door.places.waiting == 10
    for path in (*(f"/{n}" for n in range(10)), "/api/v1/auth/token"):
        house.let_go(path)
    for token in tokens[1:]:
        await token.ended()
    assert [client.status for client in tokens] == [None, 200, 200]
    assert door.places.patient == 0


@pytest.mark.usefixtures("impatient")
async def test_even_a_token_is_refused_in_the_end(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turnstile, "TOKEN_PATIENCE_SECONDS", 0.3)
    door = Turnstile(house, at_once=1, connections=16, patience_seconds=5)
    began = asyncio.get_running_loop().time()
    tokens = [Client(door, "/auth/token") for _ in range(4)]
    for token in tokens[1:]:
        await token.ended()
    assert asyncio.get_running_loop().time() - began >= 0.3
    assert [token.status for token in tokens] == [None, 503, 503, 503]


async def test_tokens_are_served_in_the_same_line(house: House) -> None:
    door = Turnstile(house, at_once=1, connections=1000, patience_seconds=5)
    door.places.per_second = 2
    Client(door, "/inside")
    for _ in range(7):
        Client(door, "/auth/token")
    await settle()
    Client(door, "/late")
    assert (door.places.waiting, door.places.patient, door.kept_back) == (7, 7, 1)


async def test_who_goes_away_while_kept_back_is_not_served(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turnstile, "RETRY_AFTER_SECONDS", 0.1)
    door = Turnstile(house, at_once=1, connections=8, patience_seconds=5)
    clients = [Client(door, f"/{n}") for n in range(7)]
    await settle()
    assert door.kept_back == 2
    clients[5].go_away()
    for n in range(7):
        house.let_go(f"/{n}")
    await clients[6].ended()
    assert [client.status for client in clients] == [200] * 5 + [None, 200]


async def test_who_goes_away_is_not_served_and_not_counted(house: House, door: Turnstile) -> None:
    clients = [Client(door, f"/{n}") for n in range(4)]
    await settle()
    clients[2].go_away()
    house.let_go("/0")
    await settle()
    assert clients[2].status is None
    assert house.inside == ["/1", "/3"]
    assert door.places._given == 1


@pytest.mark.usefixtures("impatient")
async def test_who_has_gone_leaves_the_line(house: House) -> None:
    door = Turnstile(house, at_once=1, connections=100, patience_seconds=5)
    clients = [Client(door, f"/{n}") for n in range(10)]
    tokens = [Client(door, "/auth/token") for _ in range(4)]
    for client in (*clients[3:], *tokens[1:]):
        client.go_away()
    async with asyncio.timeout(5):
        while door.places.waiting > 3:
            await asyncio.sleep(0.01)
    assert (door.places.waiting, door.places.patient) == (3, 1)


@pytest.mark.usefixtures("impatient")
async def test_only_the_very_paths_are_patient(house: House) -> None:
    door = Turnstile(house, at_once=2, connections=6, patience_seconds=5)
    for n in range(5):
        Client(door, f"/{n}")
    strange = Client(door, "/htc/projects/x/images/a/auth/token")
    await strange.ended()
    assert strange.status == 503


async def test_who_only_waits_lets_others_in(house: House, door: Turnstile) -> None:
    sleeping = [Client(door, f"/sleep{n}", sleeps=True) for n in range(2)]
    await settle()
    quick = Client(door, "/quick")
    house.let_go("/quick")
    await settle()
    assert quick.status == 200
    for n in range(2):
        Client(door, f"/{n}")
    house.let_go("/sleep0")
    await settle()
    assert sleeping[0].status is None, "it comes back in its turn"
    Client(door, "/late")
    house.let_go("/0")
    house.let_go("/sleep1")
    await settle()
    assert [client.status for client in sleeping] == [200, 200]


@pytest.mark.usefixtures("impatient")
async def test_patience_ends(house: House) -> None:
    door = Turnstile(house, at_once=1, patience_seconds=0.05)
    Client(door, "/0")
    patient = Client(door, "/auth/token")
    late = Client(door, "/1")
    await late.ended()
    assert late.status == 503 and patient.status is None, "though it came before"
    house.let_go("/auth/token")
    house.let_go("/0")
    await settle()
    Client(door, "/2")
    await settle()
    assert house.inside == ["/2"], "the place is free again, and was not given to who had left"


async def test_who_sends_slowly_has_no_place_meanwhile(house: House, door: Turnstile) -> None:
    slow = [Client(door, f"/slow{n}", body_follows=True, reads=True) for n in range(2)]
    await settle()
    assert house.inside == ["/slow0", "/slow1"]
    quick = Client(door, "/quick")
    house.let_go("/quick")
    await settle()
    assert quick.status == 200
    for client in slow:
        client.say({"type": "http.request", "body": b"0123456789", "more_body": False})
    house.let_go("/slow0")
    house.let_go("/slow1")
    await settle()
    assert [client.status for client in slow] == [200, 200]
    more = [Client(door, f"/{n}") for n in range(3)]
    await settle()
    assert house.inside == ["/0", "/1"], "no place was lost or made"
    assert more[2].status is None


async def test_who_takes_an_answer_slowly_has_no_place_meanwhile(house: House, door: Turnstile) -> None:
    slow = [Client(door, f"/slow{n}") for n in range(2)]
    for n, client in enumerate(slow):
        client.takes = False
        house.let_go(f"/slow{n}")
    await settle()
    others = [Client(door, f"/{n}") for n in range(3)]
    await settle()
    assert house.inside == ["/0", "/1"]
    for client in slow:
        client.takes = True
    await settle()
    assert not any(client.done.is_set() for client in slow), "they come back when there is a place"
    for n in range(3):
        house.let_go(f"/{n}")
    await settle()
    assert [client.status for client in others] == [200] * 3
    assert (door.places._free, door.places.waiting) == (2, 0)


async def test_a_request_that_is_cancelled_gives_back_what_it_has(house: House, door: Turnstile) -> None:
    clients = [
        Client(door, "/0"),
        Client(door, "/slow", body_follows=True, reads=True),
        Client(door, "/sleeps", sleeps=True),
    ]
    await settle()
    assert house.inside == ["/0", "/slow", "/sleeps"]
    for client in clients:
        assert client.task is not None
        client.task.cancel()
    await settle()
    for n in range(3, 6):
        Client(door, f"/{n}")
    await settle()
    assert house.inside[-2:] == ["/3", "/4"]
    assert (door.places._free, door.places.waiting) == (0, 1)


async def test_all_who_wait_are_refused_when_the_server_stops(house: House) -> None:
    door = Turnstile(house, at_once=1, connections=8, patience_seconds=5)
    clients = [Client(door, f"/{n}") for n in range(7)]
    await settle()
    assert (door.places.waiting, door.kept_back) == (4, 2)
    clients[1].go_away()
    door.close()
    assert [client.status for client in clients] == [None, None] + [503] * 5
    assert Client(door, "/late").status == 503
    assert house.inside == ["/0"]
    house.let_go("/0")
    await settle()
    assert house.served == ["/0"] and (door.places._free, door.places.waiting) == (1, 0)


async def test_parts_of_a_request_that_wait_at_once_share_its_place() -> None:
    async def divided(scope: Any, receive: Any, send: Any) -> None:
        async def part(number: int) -> None:
            async with outside():
                for _ in range(number):
                    await asyncio.sleep(0)
                if scope["path"] == "/fails" and number == 1:
                    raise RuntimeError("broken")

        await asyncio.gather(*(part(number) for number in range(4)))
        await send({"type": "http.response.start", "status": 200})

    door = Turnstile(divided, at_once=2, patience_seconds=2)
    for _ in range(5):
        client = Client(door, "/fails")
        assert client.task is not None
        with pytest.raises(RuntimeError):
            await client.task
    clients = [Client(door, f"/{n}") for n in range(20)]
    for client in clients:
        await client.ended()
    assert [client.status for client in clients] == [200] * 20
    await settle()
    assert (door.places._free, door.places.waiting) == (2, 0)


async def test_a_crash_gives_the_place_back() -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("broken")

    door = Turnstile(broken, at_once=1)
    for _ in range(3):
        client = Client(door, "/")
        assert client.task is not None
        with pytest.raises(RuntimeError):
            await asyncio.wait_for(client.task, 5)
