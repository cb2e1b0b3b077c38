"""``/ws`` as its clients see it, over real sockets."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from gateway.ports import EventLog
from gateway.protocol.codes import CloseCode
from gateway.protocol.session import MALFORMED_IN_A_ROW_MAX
from tests.execution.world import AwayLog
from tests.identity import Provider
from tests.transports.world import (
    BOTH_SERVERS,
    SECRET,
    connected,
    offsets,
    token,
    until,
    wire,
    world,
)

# --- connecting -----------------------------------------------------------------------------


async def test_connect_tells_exactly_what_the_contract_says() -> None:
    async with world() as here, wire(here) as client:
        result = await client.result("connect", client="test")
    assert result.keys() == {
        "session_id",
        "user_id",
        "scopes",
        "server_time",
        "heartbeat_interval",
        "schema_version",
        "limits",
    }
    assert result["user_id"] == "local"
    assert "admin" in result["scopes"]
    assert result["schema_version"] == "1"


async def test_on_an_open_gateway_a_client_may_act_as_a_user() -> None:
    async with world() as here, wire(here) as client:
        result = await client.result("connect", user_id="ann")
        assert result["user_id"] == "ann"
        assert "admin" not in result["scopes"]
        reply = await client.ask("subscribe", topics=["user:bob"])
        assert reply["error"]["data"] == {"code": "not_permitted", "field": "topics"}
        # The connection stays.
        await client.result("ping")


async def test_nothing_but_connect_is_served_before_connect() -> None:
    async with world() as here, wire(here) as client:
        reply = await client.ask("ping")
        assert reply["error"]["code"] == -32003
        await client.result("connect")
        await client.result("ping")


async def test_a_client_that_does_not_connect_in_time_is_closed() -> None:
    async with world(connect_timeout=0.1) as here, wire(here) as client:
        assert (await client.closed())[0] == 4002


async def test_the_subprotocol_is_echoed_and_brings_the_token() -> None:
    """Browsers cannot set headers; the second subprotocol is where their token goes."""
    async with world(secret=SECRET) as here:
        names = ("agent-events.v1", f"bearer.{token('ann')}")
        async with wire(here, subprotocols=names) as client:
            assert client.socket.subprotocol == "agent-events.v1"
            # No connect is needed, and none hurts.
            await client.result("subscribe", topics=["user:ann"])
            assert (await client.result("connect"))["user_id"] == "ann"


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"token": "x.y.z"}, 4500),
        ({}, 4500),
        ({"token": token("ann", exp=1)}, 4005),
        ({"token": token("ann", exp=None)}, 4500),
        ({"token": token(" ab")}, 4500),
        ({"token": token("ann", scope="")}, 4503),
        ({"token": token("ann", scope="nonsense")}, 4503),
    ],
    ids=["garbage", "none", "expired", "no exp", "bad sub", "no scope", "unknown scope"],
)
async def test_a_token_that_is_not_accepted_is_answered_and_closed(
    params: dict[str, Any], code: int
) -> None:
    async with world(secret=SECRET) as here, wire(here) as client:
        reply = await client.ask("connect", **params)
        assert reply["error"]["code"] in (-32003, -32002)
        assert (await client.closed())[0] == code


async def test_a_bad_token_in_the_handshake_is_told_by_the_close_code() -> None:
    names = ("agent-events.v1", "bearer.x")
    async with world(secret=SECRET) as here, wire(here, subprotocols=names) as client:
        assert (await client.closed())[0] == 4500


async def test_a_connection_ends_with_its_token_unless_it_is_refreshed() -> None:
    async with world(secret=SECRET, heartbeat_interval=0.2) as here:
        soon = here.engine.clock.wall() + 0.4
        brief = token("ann", exp=soon)
        async with connected(here, token=brief) as one, connected(here, token=brief) as other:
            await other.result("connect", token=token("ann"))
            assert (await one.closed())[0] == 4005
            await other.result("ping")


async def test_a_refresh_stays_with_one_user_and_takes_back_rights() -> None:
    wide = token("ann", "events:read:all")
    async with world(secret=SECRET) as here, connected(here, token=wide) as client:
        reply = await client.ask("connect", token=token("bob"))
        assert reply["error"]["data"]["code"] == "not_permitted"
        await client.result("subscribe", topics=["user:bob", "user:ann"])
        await client.result("connect", token=token("ann"))
        await here.publish(user_id="bob")
        last = await here.publish(user_id="ann")
        assert offsets(await client.events(1)) == [last]


async def test_a_refresh_takes_back_channels_that_the_new_token_does_not_name() -> None:
    async with world(secret=SECRET) as here, connected(here, token=token("ann")) as client:
        await client.result("subscribe", topics=["channel:a", "channel:b"])
        await client.result("connect", token=token("ann", channels=["b"]))
        await here.publish(user_id=None, channel="a")
        last = await here.publish(user_id=None, channel="b")
        assert offsets(await client.events(1)) == [last]


async def test_who_is_in_stays_in_while_a_new_token_cannot_be_checked() -> None:
    """The refresh is answered, and comes again; a new connection is closed to come back."""
    async with Provider() as provider:
        token = provider.token("ann")
        async with world(jwks=provider.url) as here, connected(here, token=token) as client:
            await provider.stop()
            provider.rotate()
            newer = provider.token("ann")
            reply = await client.ask("connect", token=newer)
            assert reply["error"]["code"] == -32012
            assert reply["error"]["data"]["code"] == "unavailable"
            assert 0 < reply["error"]["data"]["retry_after"] <= 10
            await client.result("ping")
            async with wire(here) as other:
                reply = await other.ask("connect", token=newer)
                assert reply["error"]["data"]["code"] == "unavailable"
                assert (await other.closed())[0] == 1013
            async with wire(here, subprotocols=("agent-events.v1", f"bearer.{newer}")) as other:
                assert (await other.closed())[0] == 1013
            async with wire(here, subprotocols=("agent-events.v1", f"bearer.{token}")) as other:
                await other.result("ping")


async def test_one_connection_too_many_is_closed() -> None:
    async with world(max_connections=1) as here, connected(here), wire(here) as client:
        assert (await client.closed())[0] == 4004


async def test_silence_is_closed_and_a_pong_is_a_sign_of_life() -> None:
    limits: dict[str, Any] = {"client_timeout": 0.4, "heartbeat_interval": 0.1}
    async with world(**limits) as here, connected(here) as client:
        # This client answers pings, and the server sends them.
        for _ in range(8):
            await client.notice("heartbeat")
        await client.result("ping")


async def test_a_client_that_shows_no_life_is_closed() -> None:
    """Under a server that sends no pings only frames count."""
    limits: dict[str, Any] = {"client_timeout": 0.3, "heartbeat_interval": 0.1}
    async with world(fast=False, **limits) as here, connected(here) as client:
        assert (await client.closed())[0] == 4012


async def test_heartbeats_carry_the_offset_up_to_which_everything_was_told() -> None:
    """Others' events too, so that a quiet client can resume when they have filled the log."""
    async with world(heartbeat_interval=0.1) as here, connected(here) as client:
        await client.result("subscribe", topics=["user:ann"])
        await here.publish(user_id="ann")
        last = await here.publish(user_id="bob", count=3)
        await client.events(1)
        assert (await client.notice("heartbeat"))["offset"] == last == here.engine.log.head


async def test_every_client_hears_at_once_that_the_store_is_away_and_that_it_is_back() -> None:
    """An event could not: it could not be recorded. A client that comes meanwhile is told, too."""
    logs: list[AwayLog] = []

    def wrap(log: EventLog) -> EventLog:
        logs.append(AwayLog(log))
        return logs[0]

    async with world(wrap_log=wrap) as here, connected(here) as client, connected(here) as other:
        logs[0].away = True
        told = await client.notice("heartbeat")
        assert told["degradation"]["scope"] == "store"
        assert (await other.notice("heartbeat")) | told == told
        async with connected(here) as late:
            assert (await late.notice("heartbeat"))["degradation"] == told["degradation"]
            logs[0].away = False
            for each in (client, other, late):
                assert "degradation" not in await each.notice("heartbeat")


# --- bad input ------------------------------------------------------------------------------

DEEP = '{"jsonrpc":"2.0","id":1,"method":"ping","params":' + '{"a":' * 5000 + "1" + "}" * 5001

MALFORMED: list[tuple[str, Any, int, Any]] = [
    ("not json", "{", -32700, None),
    ("empty", "", -32700, None),
    ("nan", '{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":NaN}}', -32700, None),
    ("infinity", '{"jsonrpc":"2.0","id":-Infinity,"method":"ping"}', -32700, None),
    ("overflow", '{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":1e999}}', -32700, None),
    ("65 bits", '{"jsonrpc":"2.0","id":18446744073709551616,"method":"ping"}', -32700, None),
    ("surrogate", '{"jsonrpc":"2.0","id":"\\ud800","method":"ping"}', -32700, None),
    ("twice", '{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}', -32700, None),
    ("deep", DEEP, -32700, None),
    ("binary", b"\x00\x01", -32600, None),
    ("array", "[]", -32600, None),
    ("batch", '[{"jsonrpc":"2.0","id":1,"method":"ping"}]', -32600, None),
    ("number", "1", -32600, None),
    ("notification", '{"jsonrpc":"2.0","method":"ping"}', -32600, None),
    ("id bool", '{"jsonrpc":"2.0","id":true,"method":"ping"}', -32600, None),
    ("id float", '{"jsonrpc":"2.0","id":1.5,"method":"ping"}', -32600, None),
    ("id object", '{"jsonrpc":"2.0","id":{},"method":"ping"}', -32600, None),
    ("no version", '{"id":7,"method":"ping"}', -32600, 7),
    ("old version", '{"jsonrpc":"1.0","id":7,"method":"ping"}', -32600, 7),
    ("no method", '{"jsonrpc":"2.0","id":"a"}', -32600, "a"),
    ("method number", '{"jsonrpc":"2.0","id":7,"method":7}', -32600, 7),
    ("params array", '{"jsonrpc":"2.0","id":7,"method":"ping","params":[]}', -32602, 7),
    ("params null", '{"jsonrpc":"2.0","id":7,"method":"ping","params":null}', -32602, 7),
    ("unknown method", '{"jsonrpc":"2.0","id":"u","method":"task.fly"}', -32601, "u"),
    ("private", '{"jsonrpc":"2.0","id":7,"method":"__init__"}', -32601, 7),
    ("unknown param", '{"jsonrpc":"2.0","id":7,"method":"ping","params":{"a":1}}', -32602, 7),
]


@pytest.mark.parametrize(
    ("frame", "code", "id"), [case[1:] for case in MALFORMED], ids=[case[0] for case in MALFORMED]
)
async def test_a_bad_frame_is_answered_and_costs_nothing(frame: Any, code: int, id: Any) -> None:
    async with world() as here, connected(here) as client:
        await client.send(frame)
        reply = await client.next()
        assert reply["jsonrpc"] == "2.0"
        assert reply["id"] == id
        assert reply["error"]["code"] == code
        assert isinstance(reply["error"]["data"]["code"], str)
        await client.result("ping")


BAD_SUBSCRIBES: list[tuple[dict[str, Any], str]] = [
    ({}, "topics"),
    ({"topics": []}, "topics"),
    ({"topics": "user:ann"}, "topics"),
    ({"topics": ["user:"]}, "topics"),
    ({"topics": ["user:ann\n"]}, "topics"),
    ({"topics": ["planet:mars"]}, "topics"),
    ({"topics": ["user:" + "x" * 257]}, "topics"),
    ({"topics": ["system"] * 65}, "topics"),
    ({"topics": ["system"], "since": 5}, "since"),
    ({"topics": ["system"], "since": {"epoch": "e"}}, "since"),
    ({"topics": ["system"], "since": {"epoch": "e", "offset": -1}}, "since"),
    ({"topics": ["system"], "since": {"epoch": "e", "offset": 1.5}}, "since"),
    ({"topics": ["system"], "snapshot": 1}, "snapshot"),
    ({"topics": ["system"], "from": "start"}, "from"),
]


@pytest.mark.parametrize(("params", "field"), BAD_SUBSCRIBES)
async def test_wrong_parameters_are_refused_with_the_field(
    params: dict[str, Any], field: str
) -> None:
    async with world() as here, connected(here) as client:
        reply = await client.ask("subscribe", **params)
        assert reply["error"]["code"] == -32602
        assert reply["error"]["data"]["field"].startswith(field)
        await client.result("ping")


@pytest.mark.parametrize("id", ["", "x" * 300, 0, -1, 2**63 - 1, None, "ü\u0000", "1"])
async def test_ids_come_back_exactly(id: Any) -> None:
    async with world() as here, connected(here) as client:
        await client.send({"jsonrpc": "2.0", "id": id, "method": "ping"})
        reply = await client.next()
        assert reply["id"] == id
        assert type(reply["id"]) is type(id)


async def test_malformed_frames_in_a_row_end_the_connection() -> None:
    async with world() as here, connected(here) as client:
        for _ in range(MALFORMED_IN_A_ROW_MAX - 1):
            await client.send("{")
            await client.next()
        await client.result("ping")
        for _ in range(MALFORMED_IN_A_ROW_MAX):
            await client.send("{")
        code, _ = await client.closed()
        assert code == CloseCode.bad_request


@BOTH_SERVERS
@pytest.mark.parametrize("limit", [65_536, 200_000])
async def test_a_frame_of_the_limit_is_taken_and_one_byte_more_is_not(
    fast: bool, limit: int
) -> None:
    """Before it has connected a client may send 64 KiB, whatever the setting says."""
    frame = '{"jsonrpc":"2.0","id":1,"method":"ping"'
    async with world(fast=fast, frame_bytes=200_000) as here, wire(here) as client:
        if limit > 65_536:
            hello = await client.result("connect")
            assert hello["limits"]["frame_bytes"] == limit
        await client.send(frame + " " * (limit - len(frame) - 1) + "}")
        assert (await client.next())["id"] == 1
        await client.send(frame + " " * (limit - len(frame)) + "}")
        assert (await client.closed())[0] == 1009


async def test_text_that_is_not_utf_8_ends_the_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is the peer's mistake, and none of ours to be logged."""
    async with world() as here:
        for parts in (b"\xff\xfe", [b"\xc3", b"\x28"]):
            async with connected(here) as client:
                await client.socket.send(parts, text=True)
                assert (await client.closed())[0] == 1007
        # A character may be cut in two by frames.
        async with connected(here) as client:
            frame = '{"jsonrpc":"2.0","id":"é","method":"ping"}'.encode()
            cut = frame.index(b"\xc3") + 1
            await client.socket.send([frame[:cut], frame[cut:]], text=True)
            assert (await client.next())["id"] == "é"
    assert not caplog.records


async def test_an_unexpected_error_is_logged_and_not_told(caplog: pytest.LogCaptureFixture) -> None:
    async with world() as here, connected(here) as client:

        async def explode(*args: Any) -> None:
            raise ZeroDivisionError("the secret is 42")

        here.engine.script = explode
        reply = await client.ask("task.list")
        assert reply["error"] == {
            "code": -32603,
            "message": "internal error",
            "data": {"code": "internal_error"},
        }
    assert "the secret is 42" in caplog.text


async def test_requests_run_side_by_side_up_to_a_bound() -> None:
    """Beyond it the next frame waits in the client's socket: backpressure, not memory."""
    async with world() as here, connected(here) as client:
        running, gate = [], asyncio.Event()

        async def slow(name: str, params: Any, caller: Any) -> str:
            running.append(params)
            await gate.wait()
            return "done"

        here.engine.script = slow
        for id in range(100):
            await client.send({"jsonrpc": "2.0", "id": id, "method": "task.cancel", "params": {}})
        await until(lambda: len(running) >= 32)
        await here.engine.clock.sleep(0.05)
        assert len(running) == 32
        gate.set()
        assert {(await client.next())["id"] for _ in range(100)} == set(range(100))


# --- subscribing ----------------------------------------------------------------------------


@BOTH_SERVERS
async def test_the_reply_comes_first_then_the_replay_then_what_is_new(fast: bool) -> None:
    async with world(fast=fast) as here:
        await here.publish(count=5)
        epoch = here.engine.log.epoch
        async with connected(here, user_id="ann") as client:
            await client.send(
                {
                    "jsonrpc": "2.0",
                    "id": "s",
                    "method": "subscribe",
                    "params": {"topics": ["user:ann"], "since": {"epoch": epoch, "offset": 2}},
                }
            )
            reply = await client.next()
            assert reply["id"] == "s"
            assert reply["result"] == {
                "epoch": epoch,
                "offset": 5,
                "recovered": True,
                "was_recovering": True,
                "replayed": 3,
            }
            await here.publish(count=2)
            assert offsets(await client.events(5)) == [3, 4, 5, 6, 7]


@pytest.mark.parametrize(
    "since",
    [
        {"epoch": "another", "offset": 1},
        {"epoch": None, "offset": 6},
        {"epoch": None, "offset": 2**63 - 1},
    ],
    ids=["wrong epoch", "beyond the head", "absurd"],
)
async def test_a_position_that_cannot_be_resumed_gets_a_snapshot(since: dict[str, Any]) -> None:
    async with world() as here:
        await here.publish(count=5)
        since["epoch"] = since["epoch"] or here.engine.log.epoch
        async with connected(here) as client:
            result = await client.result("subscribe", topics=["user:ann"], since=since)
            assert result["recovered"] is False
            assert result["was_recovering"] is True
            assert result["replayed"] == 0
            assert result["offset"] == 5
            assert "tasks" in result["snapshot"]
            # No partial replay: what comes next is new.
            last = await here.publish()
            assert offsets(await client.events(1)) == [last]


async def test_a_position_that_is_no_longer_kept_is_refused() -> None:
    """The boundary: the oldest kept needs exactly the one before it."""
    async with world(log_events=3) as here:
        await here.publish(count=10)
        epoch, oldest = here.engine.log.epoch, here.engine.log.oldest
        for offset, recovered in ((oldest - 1, True), (oldest - 2, False)):
            async with connected(here) as client:
                since = {"epoch": epoch, "offset": offset}
                result = await client.result("subscribe", topics=["user:ann"], since=since)
                assert result["recovered"] is recovered
                assert ("snapshot" in result) is not recovered


async def test_start_replays_everything_that_is_kept() -> None:
    async with world() as here:
        await here.publish(count=3)
        async with connected(here) as client:
            result = await client.result("subscribe", topics=["*"], since="start")
            assert result["replayed"] == 3
            assert offsets(await client.events(3)) == [1, 2, 3]


async def test_a_snapshot_comes_when_it_is_asked_for() -> None:
    async with world() as here, connected(here) as client:
        result = await client.result("subscribe", topics=["*"], snapshot=True)
        assert result["snapshot"]["mode"] == "normal"
        assert "snapshot" not in await client.result("subscribe", topics=["system"])


async def test_since_belongs_to_the_first_subscribe() -> None:
    async with world() as here, connected(here) as client:
        await client.result("subscribe", topics=["user:ann"])
        for since in ("start", {"epoch": here.engine.log.epoch, "offset": 0}):
            reply = await client.ask("subscribe", topics=["user:bob"], since=since)
            assert reply["error"]["code"] == -32602
            assert reply["error"]["data"]["field"] == "since"
        await client.result("subscribe", topics=["user:bob"], since=None)


async def test_later_topics_are_live_from_their_reply_on() -> None:
    async with world() as here, connected(here) as client:
        await client.result("subscribe", topics=["user:ann"])
        await here.publish(user_id="bob")
        result = await client.result("subscribe", topics=["user:bob"])
        assert result["offset"] == 1
        await here.publish(user_id="bob")
        await here.publish(user_id="ann")
        assert offsets(await client.events(2)) == [2, 3]


async def test_an_event_comes_once_however_many_topics_match() -> None:
    async with world() as here, connected(here) as client:
        topics = ["user:ann", "task:t1", "agent:a", "system"]
        await client.result("subscribe", topics=topics)
        await client.result("subscribe", topics=["*"])
        await here.publish(user_id="ann", task_id="t1", agent_name="a")
        await here.publish(user_id="*")
        assert offsets(await client.events(2)) == [1, 2]
        assert not await has_more(client)


async def test_a_subscriber_to_a_user_hears_events_for_all_users() -> None:
    async with world() as here, connected(here, user_id="ann") as client:
        await client.result("subscribe", topics=["user:ann"])
        await here.publish(user_id="*")
        assert len(await client.events(1)) == 1
        await client.result("unsubscribe", topics=["user:ann"])
        await here.publish(user_id="*")
        assert not await has_more(client)


async def test_operator_only_events_and_details_are_for_operators() -> None:
    async with world() as here:
        async with connected(here) as operator, connected(here, user_id="ann") as user:
            for client in (operator, user):
                await client.result("subscribe", topics=["user:ann"])
            await here.publish(operators_only=True)
            await here.publish(detail=b'{"stack":"..."}')
            first, second = await operator.events(2)
            (only,) = await user.events(1)
            assert offsets((first, second, only)) == [1, 2, 2]
            assert second["detail"] == {"stack": "..."}
            assert "detail" not in only
        # The same eyes see the replay, and count it.
        async with connected(here, user_id="ann") as user:
            result = await user.result("subscribe", topics=["user:ann"], since="start")
            assert result["replayed"] == 1
            assert offsets(await user.events(1)) == [2]


async def test_operators_may_narrow_by_type() -> None:
    async with world() as here:
        async with connected(here) as operator:
            await operator.result("subscribe", topics=["*"], types=["agent_error"])
            await here.publish(type="notification")
            last = await here.publish(type="agent_error")
            assert offsets(await operator.events(1)) == [last]
        async with connected(here, user_id="ann") as user:
            reply = await user.ask("subscribe", topics=["user:ann"], types=["agent_error"])
            assert reply["error"]["data"] == {"code": "not_permitted", "field": "types"}


async def test_a_request_is_done_although_its_client_is_gone_at_once() -> None:
    """The report of an agent that dies right after it is heard."""
    async with world() as here:
        done: list[str] = []

        async def report(name: str, params: Any, caller: Any) -> None:
            await here.engine.clock.sleep(0.05)
            done.append(name)

        here.engine.script = report
        async with connected(here) as client:
            await client.send({"jsonrpc": "2.0", "id": 1, "method": "event.publish"})
            client.socket.transport.close()
        await until(lambda: done == ["event.publish"])


async def has_more(client: Any) -> bool:
    """Whether anything comes before the reply to one more request."""
    before = len(client.frames)
    try:
        await client.result("ping")
    except ConnectionClosed:
        return False
    return len(client.frames) > before + 1
