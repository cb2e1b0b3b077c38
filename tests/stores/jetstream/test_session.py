"""One connection: requests and their ends, subscriptions, and its loss."""

from __future__ import annotations

import asyncio

import nats.errors
import pytest

from gateway.domain.errors import ConfigurationError
from gateway.stores.jetstream.session import ApiError, Msg, Session, SessionLost, answer_of
from tests.nats import NatsServer, free_ports, nats_server
from tests.scenarios.proxy import Proxy
from tests.stores.jetstream.world import ELECTION_S, session, until


def msg(data: bytes, headers: dict[str, str] | None = None) -> Msg:
    return Msg(None, "s", "", data, headers)  # type: ignore[arg-type]


# --- answers ------------------------------------------------------------------------------------


def test_an_answer_is_its_json() -> None:
    assert answer_of(msg(b'{"seq":1}')) == {"seq": 1}


def test_an_error_in_an_answer_is_raised_with_its_code() -> None:
    with pytest.raises(ApiError, match="stream not found") as refused:
        answer_of(msg(b'{"error":{"err_code":10059,"description":"stream not found"}}'))
    assert refused.value.err_code == 10059
    with pytest.raises(ApiError, match="no reason given") as refused:
        answer_of(msg(b'{"error":{"code":500}}'))
    assert refused.value.err_code == 0


def test_an_answer_that_no_server_gave_has_no_code() -> None:
    with pytest.raises(ApiError, match="no server answers") as refused:
        answer_of(msg(b"", {"Status": "503"}))
    assert refused.value.err_code == 0


async def test_a_request_without_a_taker_is_refused_at_once(server: NatsServer) -> None:
    async with session(server.url) as one:
        with pytest.raises(ApiError, match="no server answers"):
            answer_of(await one.request("nothing.listens.here"))


async def test_a_request_gets_its_own_answer(server: NatsServer) -> None:
    async with session(server.url) as one, session(server.url) as two:

        async def echo(msg: Msg) -> None:
            await two.publish(msg.reply, b"re: " + msg.data)

        await two.subscribe("echo", echo)
        await two.request("$JS.API.INFO")  # so the server knows of the subscription
        answers = await asyncio.gather(*(one.request("echo", b"%d" % n) for n in range(20)))
        assert [answer.data for answer in answers] == [b"re: %d" % n for n in range(20)]


async def test_an_answer_that_does_not_come_is_waited_for_up_to_the_limit(
    server: NatsServer,
) -> None:
    async with session(server.url) as one:

        async def keep_silent(_: Msg) -> None:
            pass

        await one.subscribe("silence", keep_silent)
        with pytest.raises(TimeoutError):
            await one.request("silence", timeout_s=0.05)
        one._timeout_s = 0.05
        with pytest.raises(TimeoutError):
            await one.stream_of_answers("silence", b"", lambda _: True)
        assert one._answered == {}


async def test_answers_are_taken_until_the_caller_has_enough(server: NatsServer) -> None:
    async with session(server.url) as one:

        async def answer(msg: Msg) -> None:
            for number in range(5):
                await one.publish(msg.reply, b"%d" % number)

        await one.subscribe("five", answer)
        taken: list[bytes] = []

        def take(msg: Msg) -> bool:
            taken.append(msg.data)
            return len(taken) == 3

        await one.stream_of_answers("five", b"", take)
        await one.request("$JS.API.INFO")  # by now the others have come, too
        assert taken == [b"0", b"1", b"2"]


# --- subscriptions ------------------------------------------------------------------------------


async def test_a_subscription_takes_messages_in_order_until_it_ends(server: NatsServer) -> None:
    async with session(server.url) as one:
        taken: list[bytes] = []

        async def take(msg: Msg) -> None:
            taken.append(msg.data)

        end = await one.subscribe("x", take)
        for number in range(100):
            await one.publish("x", b"%d" % number)
        await until(lambda: len(taken) == 100)
        assert taken == [b"%d" % number for number in range(100)]
        await end()
        await one.publish("x", b"late")
        await one.request("$JS.API.INFO")
        assert len(taken) == 100
        await end()


async def test_two_inboxes_are_never_the_same(server: NatsServer) -> None:
    async with session(server.url) as one, session(server.url) as two:
        inboxes = {each.new_inbox() for each in (one, two) for _ in range(10)}
        assert len(inboxes) == 20


# --- the server ---------------------------------------------------------------------------------


async def test_a_session_knows_its_server(server: NatsServer) -> None:
    async with session(server.url) as one:
        assert one.server_version >= (2, 12)
        assert one.payload_bytes_max == 1024 * 1024
        assert any(str(server.port) in address for address in one.servers)


async def test_a_server_that_is_not_there_is_said_at_once() -> None:
    (port,) = free_ports(1)
    with pytest.raises((OSError, nats.errors.Error)):
        await Session.connect(f"nats://127.0.0.1:{port}", name="test", timeout_s=5.0)


async def test_wrong_credentials_are_said_at_once() -> None:
    async with nats_server(user="ann", password="right") as server:
        with pytest.raises(ConfigurationError, match="does not accept these credentials"):
            await Session.connect(server.url.replace("right", "wrong"), name="test", timeout_s=5.0)


# --- its loss -----------------------------------------------------------------------------------


async def test_when_the_connection_breaks_everything_under_way_ends(server: NatsServer) -> None:
    """And nothing begins any more: a session is never revived."""
    async with (
        Proxy(server.port) as proxy,
        session(f"nats://127.0.0.1:{proxy.port}") as one,
    ):

        async def keep_silent(_: Msg) -> None:
            pass

        await one.subscribe("silence", keep_silent)
        await one.request("$JS.API.INFO")
        waiting = asyncio.gather(
            one.request("silence"),
            one.stream_of_answers("silence", b"", lambda _: True),
            return_exceptions=True,
        )
        await asyncio.wait([asyncio.ensure_future(one.request("$JS.API.INFO"))])
        proxy.cut()
        assert [type(ended) for ended in await waiting] == [SessionLost, SessionLost]
        assert one.lost.done()
        with pytest.raises(SessionLost):
            await one.publish("x")
        with pytest.raises(SessionLost):
            await one.request("x")
        with pytest.raises(SessionLost):
            await one.api("INFO")
        with pytest.raises(SessionLost):
            await one.subscribe("x", keep_silent)


async def test_closing_ends_what_is_under_way_and_may_be_repeated(server: NatsServer) -> None:
    async with session(server.url) as one:
        answered: list[Msg | None] = []
        one.expect(answered.append)
        await one.close()
        assert answered == [None]
        assert one.lost.done()
        await one.close()


async def test_connecting_can_be_cancelled_at_any_moment(server: NatsServer) -> None:
    """Also in the moment in which the answer that it waits for has come."""
    steps = 0
    while True:
        connecting = asyncio.create_task(
            Session.connect(server.url, name="test", timeout_s=ELECTION_S)
        )
        for _ in range(steps):
            await asyncio.sleep(0)  # noqa: TID251 - one turn of the loop
        if connecting.done():
            break
        connecting.cancel()
        await asyncio.wait((connecting,), timeout=ELECTION_S)
        assert connecting.cancelled(), f"after {steps} turns of the loop"
        steps += 1
    await connecting.result().close()
    assert steps > 5
