"""Users wait at the door in turn, agents do not, and nobody holds a place for nothing."""

import asyncio
from typing import Any

import pytest

from openhtc.lifecycle.turns import outside
from openhtc.server import turnstile
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

    def __init__(
        self,
        door: Turnstile,
        path: str,
        *,
        length: int | None = None,
        reads: bool = False,
        sleeps: bool = False,
    ) -> None:
        self.sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.heard: list[dict[str, Any]] = []
        headers = [] if length is None else [(b"content-length", str(length).encode())]
        scope = {"type": "http", "path": path, "headers": headers, "reads": reads, "sleeps": sleeps}
        if not length:
            self.say({"type": "http.request", "body": b"", "more_body": False})
        self.task = asyncio.ensure_future(door(scope, self.sent.get, self._hear))

    def say(self, message: dict[str, Any]) -> None:
        self.sent.put_nowait(message)

    def go_away(self) -> None:
        self.say({"type": "http.disconnect"})

    async def _hear(self, message: dict[str, Any]) -> None:
        self.heard.append(message)

    @property
    def status(self) -> int | None:
        return self.heard[0]["status"] if self.heard else None


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


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
    monkeypatch.setattr(turnstile, "_LOOK_SECONDS", 0.01)


@pytest.mark.usefixtures("impatient")
async def test_too_many_are_refused_with_a_time_to_come_again(house: House, door: Turnstile) -> None:
    clients = [Client(door, f"/{n}") for n in range(6)]
    await asyncio.wait_for(clients[-1].task, 5)
    assert [client.status for client in clients] == [None] * 5 + [503]
    headers = dict(clients[-1].heard[0]["headers"])
    assert headers[b"retry-after"] == b"5" and b"OVERLOADED" in clients[-1].heard[1]["body"]
    house.let_go("/0")
    await settle()
    assert "/2" in house.inside, "what was let in before goes on"


async def test_a_rate_is_learnt_while_there_is_always_somebody() -> None:
    places = turnstile._Places(1, 100)
    inside = places.take(60)
    waiting = [places.take(60) for _ in range(30)]
    for n, turn in enumerate(waiting[:20], start=1):
        places.give_back(inside)
        inside = turn
        places.learn(places._learnt_at + 1)
        assert abs(places.per_second - (1 + 99 * 0.8**n)) < 0.01, "one a second"
    slow = places.per_second
    for turn in waiting[20:]:
        places.give_back(inside)
        inside = turn
    places.learn(places._learnt_at + 0.1)
    assert places.per_second > slow + 15, "ten in a tenth of a second"
    known = places.per_second
    places.take(60)
    places.give_back(inside)
    places._pass_on()
    places.learn(places._learnt_at + 1)
    assert places.per_second == known, "one was given, because nobody else waited"
    waiting = [places.take(60) for _ in range(31)]
    for _ in waiting:
        places._pass_on()
    assert places._was_free
    places.learn(places._learnt_at + 1)
    assert places.per_second > known, "as many at least"
    places._given = 10_000
    for _ in range(40):
        places.learn(places._learnt_at + 0.001)
    assert places.per_second <= 100


async def test_no_more_wait_than_can_be_served_in_time(house: House) -> None:
    door = Turnstile(house, at_once=1, connections=1000, patience_seconds=5)
    door._places.per_second = 2
    clients = [Client(door, f"/{n}") for n in range(9)]
    await settle()
    assert (door._places.waiting, door._kept.waiting) == (7, 1), "in 3.5 of 5 seconds"
    for n in range(9):
        house.let_go(f"/{n}")
    await asyncio.wait_for(asyncio.gather(*(client.task for client in clients[:8])), 5)
    clients[8].task.cancel()
    await settle()
    assert door._kept.waiting == 0


async def test_who_is_kept_back_is_let_in_when_there_is_room(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turnstile, "RETRY_AFTER_SECONDS", 0.1)
    door = Turnstile(house, at_once=1, connections=4, patience_seconds=5)
    clients = [Client(door, f"/{n}") for n in range(4)]
    await settle()
    for n in range(4):
        house.let_go(f"/{n}")
    await asyncio.wait_for(asyncio.gather(*(client.task for client in clients)), 5)
    assert [client.status for client in clients] == [200] * 4


async def test_who_is_refused_waits_for_it(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turnstile, "_LOOK_SECONDS", 0.02)
    monkeypatch.setattr(turnstile, "RETRY_AFTER_SECONDS", 0.2)
    door = Turnstile(house, at_once=1, connections=16, patience_seconds=5)
    clients = [Client(door, f"/{n}") for n in range(15)]
    await settle()
    told = [client.status for client in clients]
    assert told == [None] * 14 + [503], "one inside, eight who wait, five kept back, two places for tokens"
    began = asyncio.get_running_loop().time()
    await asyncio.wait_for(clients[13].task, 5)
    await asyncio.wait_for(asyncio.gather(*(client.task for client in clients[9:13])), 5)
    assert asyncio.get_running_loop().time() - began >= 0.1
    assert [clients[n].status for n in range(9, 14)] == [503] * 5
    assert (door._kept.waiting, door._places.waiting) == (0, 8)


async def test_the_first_of_many_that_are_refused_wait_longest(house: House) -> None:
    door = Turnstile(house, at_once=1, connections=32, patience_seconds=5)
    for n in range(40):
        Client(door, f"/{n}")
    await settle()
    until = sorted(entry[0] for entry in door._kept._turns)
    assert (door._places.waiting, len(until)) == (16, 10)
    assert until[2] - until[0] > 3 and until[-1] - until[2] < 1, "two for a second, eight for five"


@pytest.mark.usefixtures("impatient")
async def test_who_asks_for_a_token_is_not_sent_away_for_the_crowd(house: House) -> None:
    door = Turnstile(house, at_once=2, connections=16, patience_seconds=5)
    crowd = [Client(door, f"/{n}") for n in range(11)]
    await asyncio.wait_for(crowd[10].task, 5)
    assert crowd[10].status == 503
    tokens = [Client(door, "/api/v1/auth/token") for _ in range(3)]
    await asyncio.sleep(0.1)
    assert (door._patient, door._kept.waiting) == (2, 1), "two in line, one that tries again and again"
    tokens[0].task.cancel()
    async with asyncio.timeout(5):
        while door._kept.waiting:
            await asyncio.sleep(0.01)
    assert door._patient == 2 and door._places.waiting == 10
    for path in (*(f"/{n}" for n in range(10)), "/api/v1/auth/token"):
        house.let_go(path)
    await asyncio.wait_for(asyncio.gather(tokens[1].task, tokens[2].task), 5)
    assert [client.status for client in tokens[1:]] == [200, 200]
    assert door._patient == 0


async def test_tokens_are_served_in_the_same_line(house: House) -> None:
    door = Turnstile(house, at_once=1, connections=1000, patience_seconds=5)
    door._places.per_second = 2
    Client(door, "/inside")
    for _ in range(7):
        Client(door, "/auth/token")
    await settle()
    late = Client(door, "/late")
    await settle()
    assert (door._places.waiting, door._kept.waiting) == (7, 1)
    late.task.cancel()


async def test_who_goes_away_while_kept_back_is_not_served(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turnstile, "RETRY_AFTER_SECONDS", 0.1)
    monkeypatch.setattr(turnstile, "DOUBTED_SECONDS", 0.05)
    door = Turnstile(house, at_once=1, connections=8, patience_seconds=5)
    clients = [Client(door, f"/{n}") for n in range(6)]
    await settle()
    assert door._kept.waiting == 1
    clients[5].go_away()
    for n in range(6):
        house.let_go(f"/{n}")
    await asyncio.wait_for(asyncio.gather(*(client.task for client in clients)), 5)
    assert [client.status for client in clients] == [200] * 5 + [None]


async def test_a_turn_for_somebody_who_has_gone_is_not_counted(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turnstile, "DOUBTED_SECONDS", 0)
    door = Turnstile(house, at_once=1, patience_seconds=5)
    clients = [Client(door, f"/{n}") for n in range(3)]
    await asyncio.sleep(0.05)
    clients[1].go_away()
    house.let_go("/0")
    async with asyncio.timeout(5):
        while "/2" not in house.inside:
            await asyncio.sleep(0.001)
    assert door._places._given == 1


@pytest.mark.usefixtures("impatient")
async def test_only_the_very_paths_are_patient(house: House, door: Turnstile) -> None:
    for n in range(5):
        Client(door, f"/{n}")
    await settle()
    strange = Client(door, "/htc/projects/x/images/a/auth/token")
    await asyncio.wait_for(strange.task, 5)
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
    house.let_go("/0")
    house.let_go("/sleep1")
    await settle()
    assert [client.status for client in sleeping] == [200, 200]


async def test_no_body_is_held_without_a_limit(
    house: House, door: Turnstile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turnstile, "DOUBTED_SECONDS", 0)
    Client(door, "/0")
    Client(door, "/1")
    client = Client(door, "/2", length=5)
    for _ in range(10):
        client.say({"type": "http.request", "body": b"x" * turnstile._HELD_BODY, "more_body": True})
    house.let_go("/0")
    async with asyncio.timeout(5):
        while "/2" not in house.inside:
            await asyncio.sleep(0.001)
    assert 7 <= client.sent.qsize() < 10


async def test_patience_ends(house: House) -> None:
    door = Turnstile(house, at_once=1, patience_seconds=0.05)
    Client(door, "/0")
    late = Client(door, "/1")
    await asyncio.wait_for(late.task, 5)
    assert late.status == 503
    house.let_go("/0")
    await settle()
    Client(door, "/2")
    await settle()
    assert house.inside == ["/2"], "the place is free again, and was not given to who had left"


async def test_who_goes_away_is_not_served(
    house: House, door: Turnstile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turnstile, "DOUBTED_SECONDS", 0)
    clients = [Client(door, f"/{n}") for n in range(4)]
    await settle()
    clients[2].go_away()
    house.let_go("/0")
    await asyncio.wait_for(clients[2].task, 5)
    assert clients[2].status is None
    async with asyncio.timeout(5):
        while "/3" not in house.inside:
            await asyncio.sleep(0.001)
    assert house.inside == ["/1", "/3"]


async def test_a_body_that_came_while_waiting_is_whole(
    house: House, door: Turnstile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turnstile, "DOUBTED_SECONDS", 0)
    Client(door, "/0")
    Client(door, "/1")
    client = Client(door, "/2", length=6, reads=True)
    client.say({"type": "http.request", "body": b"abc", "more_body": True})
    await settle()
    house.let_go("/0")
    async with asyncio.timeout(5):
        while "/2" not in house.inside:
            await asyncio.sleep(0.001)
    client.say({"type": "http.request", "body": b"def", "more_body": False})
    house.let_go("/2")
    await asyncio.wait_for(client.task, 5)
    assert (client.status, house.bodies) == (200, [b"abc", b"def"])


async def test_who_sends_slowly_has_no_place_meanwhile(house: House, door: Turnstile) -> None:
    slow = [Client(door, f"/slow{n}", length=10, reads=True) for n in range(2)]
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


async def test_a_long_body_is_left_where_it_is(
    house: House, door: Turnstile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turnstile, "DOUBTED_SECONDS", 0)
    Client(door, "/0")
    Client(door, "/1")
    client = Client(door, "/2", length=turnstile._HELD_BODY + 1, reads=True)
    client.say({"type": "http.request", "body": b"x", "more_body": False})
    await settle()
    assert not client.sent.empty()
    house.let_go("/0")
    house.let_go("/2")
    await asyncio.wait_for(client.task, 5)
    assert (client.status, house.bodies) == (200, [b"x"])


async def test_a_request_that_is_cancelled_gives_back_what_it_has(house: House, door: Turnstile) -> None:
    inside, also = Client(door, "/0"), Client(door, "/slow", length=10, reads=True)
    waiting = Client(door, "/2", length=turnstile._HELD_BODY + 1)
    await settle()
    for client in (waiting, also, inside):
        client.task.cancel()
    await settle()
    for n in range(3, 6):
        Client(door, f"/{n}")
    await settle()
    assert house.inside[-2:] == ["/3", "/4"]


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
        with pytest.raises(RuntimeError):
            await Client(door, "/fails").task
    clients = [Client(door, f"/{n}") for n in range(20)]
    await asyncio.wait_for(asyncio.gather(*(client.task for client in clients)), 5)
    assert [client.status for client in clients] == [200] * 20
    await settle()
    assert (door._places._free, door._places.waiting) == (2, 0)


async def test_a_crash_gives_the_place_back() -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("broken")

    door = Turnstile(broken, at_once=1)
    for _ in range(3):
        with pytest.raises(RuntimeError):
            await asyncio.wait_for(Client(door, "/").task, 5)
