"""Turns: who asks little does not wait behind who asks much, and everybody's turn comes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Generator
from typing import Any

import pytest
from starlette.requests import ClientDisconnect

from gateway import Settings
from gateway.transports import limits as limits_module
from gateway.transports import turns as turns_module
from gateway.transports.places import Places
from gateway.transports.turns import (
    AT_ONCE_MAX,
    BETWEEN_S_MAX,
    OTHERS_S,
    QUICK_S,
    REST,
    ROUNDS_BETWEEN,
    SHORT_REST,
    SIZE_OF_ONE,
    Turns,
)
from tests.transports.raw_client import Raw, frame, raw, raw_socket, request
from tests.transports.world import CLOCK, SECRET, World, token, until, wire, world

AT_ONCE = int(AT_ONCE_MAX)


class StillClock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("turns do not sleep")


class _Round:
    def __await__(self) -> Generator[None, None, None]:
        yield


async def rounds(count: int) -> None:
    """Let the loop go round."""
    for _ in range(count):
        await _Round()


class Line:
    """Requests that wait for their turns, and the order in which they have begun."""

    def __init__(self) -> None:
        self.clock = StillClock()
        self.turns = Turns(self.clock)
        self.begun: list[str] = []
        self.waiting: set[asyncio.Task[None]] = set()

    def ask(self, key: str, *, size: int = 0, rest: float = REST) -> asyncio.Task[None]:
        async def begin() -> None:
            await self.turns.wait(key, size=size, rest=rest)
            self.begun.append(key)

        task = asyncio.create_task(begin())
        self.waiting.add(task)
        return task

    async def use_up(self, key: str) -> None:
        """Ask as often as a request begins at once."""
        for _ in range(AT_ONCE):
            await self.turns.wait(key)
        assert not len(self.turns)


@contextlib.asynccontextmanager
async def line() -> AsyncIterator[Line]:
    here = Line()
    async with asyncio.timeout(10):
        yield here
        await asyncio.gather(*here.waiting, return_exceptions=True)
        assert not len(here.turns), "a turn that nobody waits for"


async def test_a_burst_begins_at_once_and_the_rest_one_by_one() -> None:
    async with line() as here:
        await here.use_up("ann")
        for _ in range(3):
            here.ask("ann")
        await rounds(1)
        seen = []
        while len(here.begun) < 3:
            await rounds(1)
            seen.append(len(here.begun))
        assert all(seen.count(number) >= ROUNDS_BETWEEN for number in (1, 2))


async def test_another_user_does_not_wait() -> None:
    async with line() as here:
        await here.use_up("ann")
        for _ in range(50):
            here.ask("ann")
        await rounds(2)
        here.ask("bob")
        await rounds(1)
        assert here.begun[-1] == "bob"
        assert len(here.begun) <= 2


async def test_those_who_wait_take_turns_whoever_has_more_requests() -> None:
    async with line() as here:
        await here.use_up("ann")
        await here.use_up("bob")
        for _ in range(20):
            here.ask("ann")
        await rounds(1)
        for _ in range(3):
            here.ask("bob")
        await asyncio.gather(*here.waiting)
        # The first turn may be over before bob asks.
        assert [here.begun[:7].count(key) for key in ("ann", "bob")] == [4, 3]


async def test_a_large_request_counts_as_many() -> None:
    async with line() as here:
        await here.turns.wait("ann", size=SIZE_OF_ONE * (AT_ONCE - 1))
        here.ask("ann")
        await rounds(1)
        assert here.begun == []


async def test_no_turn_comes_while_the_loop_has_much_to_do() -> None:
    """What others asked for, and what the turns before have set off, is done first."""
    async with line() as here:
        await here.use_up("ann")
        for _ in range(2):
            here.ask("ann", rest=0.0)
        while not here.begun:
            await rounds(1)
        for _ in range(ROUNDS_BETWEEN * 3):
            here.clock.now += QUICK_S * 1.5
            await rounds(1)
        assert here.begun == ["ann"]
        await rounds(ROUNDS_BETWEEN + 1)
        assert here.begun == ["ann", "ann"]


@pytest.mark.parametrize("rest", [REST, SHORT_REST])
async def test_while_others_ask_little_the_loop_rests_after_each_turn(rest: float) -> None:
    """What they ask for then comes at any time, and mostly finds the loop idle."""
    async with line() as here:
        await here.use_up("ann")
        await here.turns.wait("bob")
        for _ in range(2):
            here.ask("ann", rest=rest)
        while not here.begun:
            await rounds(1)
        took_s = BETWEEN_S_MAX / 10
        here.clock.now += took_s
        await rounds(ROUNDS_BETWEEN * 3)
        here.clock.now += rest * took_s * 0.9
        await rounds(ROUNDS_BETWEEN * 3)
        assert here.begun == ["ann"]
        here.clock.now += rest * took_s * 0.2
        while len(here.begun) < 2:
            await rounds(1)


async def test_there_is_no_rest_for_others_who_ask_as_much() -> None:
    async with line() as here:
        await here.use_up("ann")
        await here.use_up("bob")
        here.clock.now += OTHERS_S * 2
        for key in ("ann", "bob"):
            for _ in range(AT_ONCE):
                here.ask(key)
        while not len(here.turns):
            await rounds(1)
        for count in range(1, 5):
            while len(here.begun) < 40 + count:
                await rounds(1)
            here.clock.now += BETWEEN_S_MAX / 10
            await rounds(ROUNDS_BETWEEN + 3)
            assert len(here.begun) > 40 + count
        for task in here.waiting:
            task.cancel()


async def test_a_loop_that_always_has_much_to_do_gives_turns_all_the_same() -> None:
    async with line() as here:
        await here.use_up("ann")
        for _ in range(3):
            here.ask("ann")
        await rounds(2)
        count = int(3 * BETWEEN_S_MAX / (QUICK_S * 2)) + 3
        for _ in range(count):
            here.clock.now += QUICK_S * 2
            await rounds(1)
        assert here.begun == ["ann"] * 3


async def test_a_large_request_lets_as_many_turns_go_by_as_it_is_worth() -> None:
    """Two users that send a megabyte each, again and again, held the loop all the time."""
    async with line() as here:
        await here.use_up("ann")
        await here.use_up("bob")
        for _ in range(2):
            here.ask("ann", size=SIZE_OF_ONE * 4)
        for _ in range(12):
            here.ask("bob")
        await asyncio.gather(*here.waiting)
        first, second = (number for number, key in enumerate(here.begun) if key == "ann")
        assert first >= 4
        assert second - first >= 5


async def test_a_request_whose_connection_ends_waits_no_longer() -> None:
    """Large requests of connections that had ended filled the line, and memory, for minutes."""
    async with line() as here:
        place = Places(Settings()).open(None)
        assert place is not None
        await here.use_up("ann")
        waiting = asyncio.create_task(here.turns.wait("ann", place=place))
        await rounds(1)
        place.leave()
        with pytest.raises(ClientDisconnect):
            await waiting
        assert not len(here.turns)


async def test_one_that_gives_up_does_not_stop_the_others() -> None:
    async with line() as here:
        await here.use_up("ann")
        first, *_ = [here.ask("ann") for _ in range(3)]
        await rounds(1)
        first.cancel()
        await asyncio.gather(*here.waiting, return_exceptions=True)
        assert here.begun == ["ann", "ann"]


async def test_who_waits_long_enough_begins_at_once_again() -> None:
    async with line() as here:
        await here.use_up("ann")
        here.clock.now += 3600
        await here.use_up("ann")


# --- at the doors ---------------------------------------------------------------------------

MANY = 40


async def by_http(here: World, stack: contextlib.AsyncExitStack, user_id: str) -> Any:
    client = await stack.enter_async_context(raw(here))
    bearer = f"Authorization: Bearer {token(user_id)}"
    return client, request(here, "GET /api/tasks", bearer), client.answer


async def by_socket(here: World, stack: contextlib.AsyncExitStack, user_id: str) -> Any:
    client = await stack.enter_async_context(raw_socket(here, token=token(user_id)))
    asked = {"jsonrpc": "2.0", "id": 1, "method": "task.list", "params": {}}
    return client, frame(asked), client.next_frame


def noted(here: World) -> list[str]:
    """Answer every request at once; gives whose has begun, in order."""
    begun: list[str] = []

    async def script(name: str, params: Any, caller: Any) -> Any:
        begun.append(caller.user_id)
        return {"items": [], "next": None}

    here.engine.script = script
    return begun


async def test_frames_before_connect_take_turns_by_their_address() -> None:
    """Nobody is known yet, and a thousand such frames a second held the loop as well."""
    async with world(secret=SECRET) as here, wire(here) as client:
        turns = here.limits._turns
        assert "error" in await client.ask("ping")
        assert list(turns._at_once._full_at) == ["\n127.0.0.1"]
        await client.result("connect", token=token("ann"))
        await client.result("ping")
        assert "ann" in turns._at_once._full_at


@pytest.mark.parametrize("way", [by_http, by_socket])
async def test_a_user_with_many_connections_does_not_come_before_another(
    way: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that had arrived was begun in the same round, and who came next waited for all of it."""
    # Else ann would have some more at once on a machine that is slow.
    monkeypatch.setattr(turns_module, "AT_ONCE_PER_S", 0.001)
    async with world(secret=SECRET) as here, contextlib.AsyncExitStack() as stack:
        begun = noted(here)
        first: tuple[Raw, bytes, Any] = await way(here, stack, "ann")
        others = [await way(here, stack, "ann") for _ in range(MANY - 1)]
        bob = await way(here, stack, "bob")
        for _ in range(AT_ONCE):
            first[0].writer.write(first[1])
            await first[2]()
        begun.clear()
        for client, asked, _ in (first, *others, bob):
            client.writer.write(asked)
        await asyncio.gather(*(answer() for _, _, answer in (first, *others, bob)))
        assert len(begun) == MANY + 1
        assert begun.index("bob") < MANY / 4, begun


# --- connections ----------------------------------------------------------------------------


@pytest.fixture
def few_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an address have one connection at once, and one more in a turn that comes at once."""
    monkeypatch.setattr(limits_module, "CONNECTIONS_PER_S", 0.001)
    monkeypatch.setattr(limits_module, "CONNECTIONS_BURST", 0.0)
    monkeypatch.setattr(turns_module, "AT_ONCE_PER_S", 0.001)
    monkeypatch.setattr(turns_module, "AT_ONCE_MAX", 1.0)


@pytest.mark.usefixtures("few_connections")
async def test_an_address_that_connects_again_and_again_does_not_come_before_others() -> None:
    """Connections that came and went took half of the loop, and no limit counted them."""
    async with world(secret=SECRET) as here, contextlib.AsyncExitStack() as stack:
        begun = noted(here)
        bob, asked, answered = await by_http(here, stack, "bob")
        bob.writer.write(request(here, "GET /health"))
        await bob.answer()
        new = [await by_http(here, stack, f"user-{number}") for number in range(MANY)]
        for client, data, _ in new:
            client.writer.write(data)
        bob.writer.write(asked)
        await asyncio.gather(answered(), *(answer() for _, _, answer in new))
        assert len(begun) == MANY + 1
        assert begun.index("bob") < MANY / 4, begun


@pytest.fixture
def no_turns(few_connections: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no turn come."""
    monkeypatch.setattr(turns_module, "QUICK_S", -1.0)
    monkeypatch.setattr(turns_module, "BETWEEN_S_MAX", 3600.0)


@contextlib.asynccontextmanager
async def waiting_connection(here: World) -> AsyncIterator[Raw]:
    """A connection that waits for its turn, with half a head, behind three that did not."""
    async with raw(here) as first, raw(here) as second, raw(here) as third, raw(here) as late:
        for client in (first, second, third):  # the first turn comes at once
            await client.send(request(here, "GET /health"))
            assert (await client.answer()).status == 200
        head = request(here, "GET /health")
        await late.send(head[:20])
        await until(lambda: len(here.limits._turns) == 1)
        await late.send(head[20:])
        yield late


@pytest.mark.usefixtures("no_turns")
async def test_what_comes_while_a_connection_waits_is_read_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with world(head_timeout=0.2) as here, waiting_connection(here) as late:
        # It is we who do not read it, so that it is not late.
        await CLOCK.sleep(0.5)
        assert len(here.limits._turns) == 1
        monkeypatch.setattr(turns_module, "BETWEEN_S_MAX", 0.01)
        assert (await late.answer()).status == 200
        assert not len(here.limits._turns)


@pytest.mark.usefixtures("no_turns")
async def test_a_connection_whose_client_is_gone_when_its_turn_comes_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with world() as here:
        async with waiting_connection(here):
            pass
        monkeypatch.setattr(turns_module, "BETWEEN_S_MAX", 0.01)
        await until(lambda: here.limits.places.taken == 0)
        assert not len(here.limits._turns)


@pytest.mark.usefixtures("no_turns")
async def test_a_gateway_that_stops_waits_for_no_connection() -> None:
    async with world() as here, waiting_connection(here) as late:
        here.server.should_exit = True
        assert await late.ended() == b""
        await until(lambda: not len(here.limits._turns))


@pytest.mark.usefixtures("few_connections")
async def test_connections_of_a_proxy_take_no_turns() -> None:
    """They are many users'; each of its clients counts by itself."""
    async with (
        world(secret=SECRET, trusted_proxies=("127.0.0.1",)) as here,
        contextlib.AsyncExitStack() as stack,
    ):
        for number in range(5):
            client, asked, answered = await by_http(here, stack, f"user-{number}")
            client.writer.write(asked)
            assert (await answered()).status == 200
        assert here.limits._turns._at_once.left("\n127.0.0.1", 0.0) == 1
