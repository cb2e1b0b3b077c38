"""The way to the store: connecting, noticing that it is away, and coming back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from urllib.parse import quote, unquote

import pytest

from gateway.domain.errors import ConfigurationError, StoreUnavailable
from gateway.stores.jetstream.link import Link, store_away
from gateway.stores.jetstream.session import ApiError, Session
from tests.nats import NatsServer, free_ports, nats_server
from tests.scenarios.proxy import Proxy
from tests.stores.drafts import draft
from tests.stores.jetstream.world import jetstream_log, until


class World:
    """
    A link, and what it does.

    Attributes:
        prepared: The sessions that were made useful.
        prepare_errors: What the next preparations fail with.
        looks: How many looks found the store there.
        look_errors: What the next looks fail with.
        told: ``current`` and ``reason`` at each change.
    """

    def __init__(self, servers: Sequence[str], *, timeout_s: float, chance: float) -> None:
        self.prepared: list[Session] = []
        self.prepare_errors: list[Exception] = []
        self.looks = 0
        self.look_errors: list[Exception] = []
        self.told: list[tuple[bool, str | None]] = []
        self.link = Link(
            servers,
            name="test",
            timeout_s=timeout_s,
            prepare=self._prepare,
            look=self._look,
            changed=lambda: self.told.append((self.link.current is not None, self.link.reason)),
            chance=lambda: chance,
        )

    async def _prepare(self, session: Session) -> None:
        if self.prepare_errors:
            raise self.prepare_errors.pop(0)
        self.prepared.append(session)

    async def _look(self, session: Session) -> None:
        if self.look_errors:
            raise self.look_errors.pop(0)
        self.looks += 1


@contextlib.asynccontextmanager
async def world_of(
    *servers: str, timeout_s: float = 5.0, chance: float = 0.0
) -> AsyncIterator[World]:
    world = World(servers, timeout_s=timeout_s, chance=chance)
    try:
        yield world
    finally:
        await world.link.close()


# --- connecting ---------------------------------------------------------------------------------


async def test_before_it_is_opened_there_is_no_session_and_none_is_waited_for() -> None:
    async with world_of("nats://127.0.0.1:1") as world:
        assert (world.link.current, world.link.reason) == (None, "not connected yet")
        with pytest.raises(StoreUnavailable, match="not connected yet"):
            await world.link.session()


async def test_a_session_is_prepared_before_any_caller_gets_it(server: NatsServer) -> None:
    async with world_of(server.url) as world:
        await world.link.open()
        session = await world.link.session()
        assert world.prepared == [session]
        assert (world.link.current, world.link.reason) == (session, None)
        assert world.told == [(True, None)]


async def test_of_several_addresses_one_is_enough(server: NatsServer) -> None:
    (nothing,) = free_ports(1)
    async with world_of(f"nats://127.0.0.1:{nothing}", server.url) as world:
        await world.link.open()
        assert world.link.current is not None


async def test_a_preparation_that_fails_is_tried_again_with_another_session(
    server: NatsServer,
) -> None:
    async with world_of(server.url) as world:
        world.prepare_errors = [TimeoutError(), ApiError(10008, "unavailable")]
        await world.link.open()
        assert world.prepared == [world.link.current]


async def test_a_wrong_configuration_is_not_tried_again(server: NatsServer) -> None:
    async with world_of(server.url) as world:
        world.prepare_errors = [ConfigurationError("not ours")]
        with pytest.raises(ConfigurationError, match="not ours"):
            await world.link.open()


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ApiError(10023, "no room"), "no room; the log of nats-server says more"),
        (ApiError(0, "nothing answers"), "nothing answers; start nats-server there"),
    ],
)
async def test_a_store_that_cannot_be_used_is_said_with_a_remedy(
    server: NatsServer, error: ApiError, says: str
) -> None:
    async with world_of(server.url, timeout_s=0.05) as world:
        world.prepare_errors = [error] * 9
        with pytest.raises(ConfigurationError, match=f"the store at nats://.* {says}"):
            await world.link.open()


async def test_a_wrong_address_is_said_clearly_and_without_secrets() -> None:
    (port,) = free_ports(1)
    async with world_of(f"nats://ann:secret@127.0.0.1:{port}", timeout_s=0.2) as world:
        with pytest.raises(ConfigurationError, match="nothing listens there; start nats") as error:
            await world.link.open()
        assert "secret" not in str(error.value)


async def test_wrong_credentials_are_said_clearly_and_never_shown() -> None:
    async with nats_server(user="ann", password="right") as server:
        async with world_of(server.url.replace("right", "wrong")) as world:
            with pytest.raises(ConfigurationError, match="does not accept these cred") as refused:
                await world.link.open()
            assert "wrong" not in str(refused.value)
        async with jetstream_log(server.url) as log:
            await log.append([draft()])


@pytest.mark.parametrize("password", ["p/s@s:s", "p%s?#", "p%2Fs"])
async def test_a_password_may_hold_any_sign_and_is_never_shown(password: str) -> None:
    escaped = quote(password, safe="")
    async with nats_server(user="ann", password=password) as server:
        address = server.url.rpartition("@")[2]
        # As it is written where that is not ambiguous.
        for written in {escaped, password} if unquote(password) == password else {escaped}:
            async with world_of(f"nats://ann:{written}@{address}") as world:
                await world.link.open()
                assert world.link.current is not None
        async with world_of(f"nats://ann:{password}x@{address}") as world:
            with pytest.raises(ConfigurationError, match="does not accept these cred") as refused:
                await world.link.open()
            assert password not in str(refused.value)


async def test_a_server_without_jetstream_is_said_clearly() -> None:
    async with nats_server(jetstream=False) as server:
        with pytest.raises(ConfigurationError, match="-js"):
            async with jetstream_log(server.url, timeout_s=0.2):
                pass


# --- noticing -----------------------------------------------------------------------------------


async def test_a_lost_session_is_replaced_and_both_changes_are_told(server: NatsServer) -> None:
    async with (
        Proxy(server.port) as proxy,
        world_of(f"nats://127.0.0.1:{proxy.port}") as world,
    ):
        await world.link.open()
        first = world.link.current
        proxy.cut()
        await until(lambda: len(world.told) == 3)
        assert world.told == [(True, None), (False, "the connection broke"), (True, None)]
        assert world.prepared == [first, world.link.current]


async def test_one_look_that_fails_is_borne_and_a_second_running_ends_the_session(
    server: NatsServer,
) -> None:
    async with world_of(server.url) as world:
        await world.link.open()
        first = world.link.current
        world.look_errors = [TimeoutError()]
        await until(lambda: world.looks and not world.look_errors)
        assert world.link.current is first
        world.look_errors = [ApiError(10008, "unavailable"), TimeoutError()]
        await until(lambda: world.link.current not in (first, None))
        assert [reason for _, reason in world.told] == [None, "it did not answer in time", None]


async def test_a_mistake_of_ours_while_looking_ends_the_session_and_is_logged(
    server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with world_of(server.url) as world:
        await world.link.open()
        world.look_errors = [RuntimeError("a mistake")] * 2
        await until(lambda: len(world.told) == 3)
        assert world.told[1] == (False, "a mistake of ours; see the log")
        assert "looking after the store failed" in caplog.text


async def test_coming_back_is_tried_without_end(
    server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Also after a mistake of ours, and when the store is not ours at the moment."""
    async with Proxy(server.port) as proxy, world_of(f"nats://127.0.0.1:{proxy.port}") as world:
        await world.link.open()
        world.prepare_errors = [ConfigurationError("not ours"), RuntimeError("a mistake")]
        proxy.cut()
        await until(lambda: len(world.told) == 5)
        reasons = [reason for _, reason in world.told]
        assert reasons == [
            None,
            "the connection broke",
            "not ours",
            "a mistake of ours; see the log",
            None,
        ]
        assert "connecting to the store failed" in caplog.text


# --- waiting ------------------------------------------------------------------------------------


async def test_a_call_waits_for_the_next_session(server: NatsServer) -> None:
    async with Proxy(server.port) as proxy, world_of(f"nats://127.0.0.1:{proxy.port}") as world:
        await world.link.open()
        first = world.link.current
        proxy.cut()
        await until(lambda: world.link.current is None)
        assert await world.link.session() not in (first, None)


async def test_a_call_waits_no_longer_than_the_limit_and_says_whether_it_is_in_doubt(
    server: NatsServer,
) -> None:
    async with (
        Proxy(server.port) as proxy,
        world_of(f"nats://127.0.0.1:{proxy.port}", timeout_s=0.2) as world,
    ):
        await world.link.open()
        proxy.refuse = True
        proxy.cut()
        await until(lambda: world.link.current is None)
        for in_doubt in (False, True):
            async with asyncio.timeout(5):
                with pytest.raises(StoreUnavailable, match="the store is away") as away:
                    await world.link.session(in_doubt=in_doubt)
            assert away.value.in_doubt == in_doubt


async def test_a_closed_link_gives_no_session_and_may_be_closed_again(server: NatsServer) -> None:
    async with world_of(server.url) as world:
        await world.link.open()
        session = await world.link.session()
        await world.link.close()
        assert session.lost.done()
        assert (world.link.current, world.link.reason) == (None, "closed")
        with pytest.raises(StoreUnavailable):
            await world.link.session()
        await world.link.close()


# --- words --------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_doubt", [False, True])
def test_the_error_of_an_absent_store_says_why(in_doubt: bool) -> None:
    error = store_away("it sleeps", in_doubt=in_doubt)
    assert (str(error), error.in_doubt) == ("the store is away: it sleeps", in_doubt)
