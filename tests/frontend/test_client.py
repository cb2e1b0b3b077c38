"""The browser's client before a scripted gateway: how a connection ends and comes back."""

from __future__ import annotations

import pytest
import pytest_asyncio
from playwright.async_api import Page

from tests.frontend.scripted_gateway import Connection, ScriptedGateway, open_blank

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

SNAPSHOT = {"mode": "normal", "failures": [], "degradations": [], "breakers": [], "tasks": []}


@pytest_asyncio.fixture(loop_scope="session")
async def gateway(blank_page: Page) -> ScriptedGateway:
    return ScriptedGateway(blank_page)


async def lively(gateway: ScriptedGateway) -> Connection:
    """Open a first connection, on which the client has handed on the events 1 and 2."""
    await gateway.begin()
    first = await gateway.connection()
    params = await first.welcome(recovered=False, snapshot=SNAPSHOT)
    assert params == {"topics": ["user:demo"], "snapshot": True}
    first.event(1)
    first.event(2)
    await gateway.until("told.filter(([name]) => name === 'event').length === 2")
    return first


async def offsets(gateway: ScriptedGateway) -> list[int]:
    return [event["offset"] for event in await gateway.told("event")]


async def test_after_a_cut_the_client_hands_on_what_it_missed_once(
    gateway: ScriptedGateway,
) -> None:
    """It asks from its own position. An event that comes twice all the same is handed on once."""
    first = await lively(gateway)
    await first.close(1011)
    second = await gateway.connection()
    params = await second.welcome(offset=4, replayed=2)
    assert params["since"] == {"epoch": "e1", "offset": 2}
    assert params["snapshot"] is False
    for offset in (2, 3, 4, 4, 5):
        second.event(offset)
    await gateway.until("client.position.offset === 5")
    assert await offsets(gateway) == [1, 2, 3, 4, 5]
    assert await gateway.told("missed") == [{"complete": True, "caught_up": 2}]
    states = [state["name"] for state in await gateway.told("state")]
    assert states == [
        *("connecting", "live", "waiting", "connecting"),
        *("replaying", "replaying", "live"),
    ]


async def test_a_resume_without_events_says_that_nothing_was_missed(
    gateway: ScriptedGateway,
) -> None:
    first = await lively(gateway)
    await first.close(1012)
    second = await gateway.connection()
    await second.welcome(offset=9)
    await gateway.until("client.state.name === 'live'")
    assert await gateway.told("missed") == [{"complete": True, "caught_up": 0}]


@pytest.mark.parametrize(
    ("epoch", "reason", "changed"),
    [("e1", "history_gone", False), ("e2", "epoch_changed", True)],
)
async def test_a_snapshot_takes_the_place_of_a_history_that_is_gone(
    gateway: ScriptedGateway, epoch: str, reason: str, changed: bool
) -> None:
    first = await lively(gateway)
    await first.close(4010)
    second = await gateway.connection()
    await second.welcome(epoch=epoch, offset=70, recovered=False, snapshot=SNAPSHOT)
    second.event(71, epoch=epoch)
    await gateway.until("client.position.offset === 71")
    assert await gateway.told("missed") == [{"complete": False, "reason": reason}]
    newest = (await gateway.told("snapshot"))[-1]
    assert newest == {
        **{"snapshot": SNAPSHOT, "epoch": epoch, "offset": 70},
        **{"epoch_changed": changed, "first": False},
    }
    assert await offsets(gateway) == [1, 2, 71]


async def test_a_gap_is_answered_with_a_new_snapshot(gateway: ScriptedGateway) -> None:
    """The gateway does not keep the events of the gap, so no resume can bring them."""
    first = await lively(gateway)
    first.notice("gap", **{"from": 3, "to": 8})
    second = await gateway.connection()
    params = await second.welcome(offset=9, recovered=False, snapshot=SNAPSHOT)
    assert params["snapshot"] is True
    await gateway.until("client.state.name === 'live' && client.position.offset === 9")
    assert (await gateway.told("missed"))[0] == {
        **{"complete": False, "reason": "gap"},
        **{"from": 3, "to": 8},
    }


async def test_a_heartbeat_moves_the_position_of_a_quiet_client(gateway: ScriptedGateway) -> None:
    """Other users' events fill the log, and it must still be possible to resume."""
    first = await lively(gateway)
    first.notice("heartbeat", offset=99, server_time="2026-11-22T05:04:54.123Z")
    await gateway.until("client.position.offset === 99")
    assert await offsets(gateway) == [1, 2]
    await first.close(1012)
    second = await gateway.connection()
    params = await second.welcome(offset=120, replayed=1)
    assert params["since"] == {"epoch": "e1", "offset": 99}
    second.event(100)
    await gateway.until("client.position.offset >= 100")
    assert await offsets(gateway) == [1, 2, 100]


async def test_a_heartbeat_beyond_a_replay_ends_it(gateway: ScriptedGateway) -> None:
    """Fewer events came than the gateway had announced: one was dropped meanwhile."""
    first = await lively(gateway)
    await first.close(1012)
    second = await gateway.connection()
    await second.welcome(offset=5, replayed=2)
    second.event(4)
    second.notice("heartbeat", offset=4, server_time="2026-11-22T05:04:54.123Z")
    await gateway.until("client.state.name === 'replaying'")
    second.notice("heartbeat", offset=7, server_time="2026-11-22T05:04:54.123Z")
    await gateway.until("client.state.name === 'live' && client.position.offset === 7")


DEGRADATIONS = "told.filter(([name]) => name === 'degradation').length"


async def test_a_degradation_of_the_store_is_told_while_it_lasts(gateway: ScriptedGateway) -> None:
    """It ends with the connection, since another gateway may be well."""
    first = await lively(gateway)
    beat = {"offset": 2, "server_time": "2026-11-22T05:04:54.123Z"}
    degradation = {"degradation_id": "d1", "scope": "store"}
    for told in (beat, beat | {"degradation": degradation}, beat):
        first.notice("heartbeat", **told)
    first.notice("heartbeat", **beat, degradation=degradation)
    await gateway.until(f"{DEGRADATIONS} === 3")
    await first.close(1012)
    await gateway.until(f"{DEGRADATIONS} === 4")
    assert await gateway.told("degradation") == [degradation, None, degradation, None]


async def test_silence_over_two_heartbeats_is_a_cut(gateway: ScriptedGateway) -> None:
    """A dead connection sends no sign by itself."""
    await gateway.begin()
    first = await gateway.connection()
    connect = await first.request("connect")
    first.answer(connect, {"user_id": "demo", "scopes": [], "heartbeat_interval": 0.2})
    result = {"epoch": "e1", "offset": 5, "recovered": False, "replayed": 0, "snapshot": SNAPSHOT}
    first.answer(await first.request("subscribe"), result)
    second = await gateway.connection()
    params = await second.welcome(offset=5)
    assert params["since"] == {"epoch": "e1", "offset": 5}
    told = await gateway.told("state")
    assert any(state.get("quiet") for state in told)
    cut = next(state for state in told if state["name"] == "waiting")
    assert cut["reason"] == "no sign of life from the gateway"


@pytest.mark.parametrize("set_ms", [-3_600_000, 3_600_000])
async def test_silence_is_noticed_though_the_computers_clock_was_set(
    gateway: ScriptedGateway, blank_page: Page, set_ms: int
) -> None:
    await gateway.begin()
    first = await gateway.connection()
    connect = await first.request("connect")
    server_time = "2026-11-29T12:00:00.000Z"
    hello = {"user_id": "demo", "scopes": [], "heartbeat_interval": 0.2}
    first.answer(connect, {**hello, "server_time": server_time})
    subscribe = await first.request("subscribe")
    await blank_page.evaluate(
        "ms => { const real = Date.now; Date.now = () => real() + ms; }", set_ms
    )
    result = {"epoch": "e1", "offset": 5, "recovered": False, "replayed": 0, "snapshot": SNAPSHOT}
    first.answer(subscribe, result)
    await gateway.until("client.state.name === 'live'")
    ahead = f"client.serverNow() - Date.parse('{server_time}')"
    assert 0 <= await blank_page.evaluate(ahead) < 60_000
    await (await gateway.connection()).welcome(offset=5)


async def test_a_token_that_never_comes_is_asked_for_again(gateway: ScriptedGateway) -> None:
    """As after a computer's sleep: the request for it may never settle."""
    await gateway.begin(open_timeout_ms=200, tokens=[None, "second"])
    await gateway.until("client.state.name === 'connecting' && client.state.failures > 0")
    connect = await (await gateway.connection()).request("connect")
    assert connect["params"]["token"] == "second"
    (waiting,) = [s for s in await gateway.told("state") if s["name"] == "waiting"]
    assert waiting["reason"] == "no answer from the gateway"


async def test_the_client_comes_back_at_the_moment_that_a_drain_names(
    gateway: ScriptedGateway, blank_page: Page
) -> None:
    """The moment is on the gateway's clock, which here is years ahead of the browser's."""
    first = await lively(gateway)
    first.notice("heartbeat", offset=2, server_time="2099-01-01T00:00:00.000Z")
    first.notice("drain", reconnect_at="2099-01-01T00:01:30.000Z", reason="shutdown")
    await gateway.until("client.state.drain !== null")
    await first.close(1012)
    await gateway.until("client.state.name === 'waiting'")
    wait_ms = await blank_page.evaluate("client.state.next_try_at - Date.now()")
    assert 60_000 < wait_ms <= 90_000
    await blank_page.evaluate("client.reconnectNow()")
    await (await gateway.connection()).welcome(offset=2)


@pytest.mark.parametrize("code", [1001, 1006, 1012, 1013, 4000, 4008, 4499])
async def test_after_these_close_codes_the_client_comes_back(
    gateway: ScriptedGateway, code: int
) -> None:
    first = await lively(gateway)
    await first.close(code)
    await gateway.until("client.state.name !== 'live'")
    await gateway.until("['waiting', 'connecting'].includes(client.state.name)")


@pytest.mark.parametrize("code", [4500, 4501, 4503, 4999])
async def test_after_these_close_codes_the_client_stays_away(
    gateway: ScriptedGateway, code: int
) -> None:
    first = await lively(gateway)
    await first.close(code)
    await gateway.until("client.state.name === 'closed'")
    assert (await gateway.told("state"))[-1]["code"] == code


async def test_a_refused_token_is_not_tried_again(gateway: ScriptedGateway) -> None:
    await gateway.begin(token="abc.def.ghi")
    first = await gateway.connection()
    connect = await first.request("connect")
    assert connect["params"]["token"] == "abc.def.ghi"
    first.refuse(connect, -32001, {"code": "unauthenticated"})
    await gateway.until("client.state.name === 'closed'")


async def test_a_subscription_refused_for_now_is_asked_again(gateway: ScriptedGateway) -> None:
    """A node that lags behind says so, and the client asks it again."""
    await gateway.begin()
    first = await gateway.connection()
    first.answer(await first.request("connect"), {"user_id": "demo", "scopes": []})
    first.refuse(await first.request("subscribe"), -32010, {"code": "behind", "retry_after": 0.01})
    second = await gateway.connection()
    await second.welcome(recovered=False, snapshot=SNAPSHOT)
    await gateway.until("client.state.name === 'live'")


async def test_a_call_is_answered_refused_or_cut(
    gateway: ScriptedGateway, blank_page: Page
) -> None:
    first = await lively(gateway)
    await blank_page.evaluate(
        """() => {
          globalThis.ends = {};
          for (const name of ["task.get", "task.list", "task.cancel"])
            client.call(name, { task_id: "t" }).then(
              (result) => (ends[name] = result.ok),
              (error) => (ends[name] = `${error.name} ${error.data?.code ?? ""}`.trim()));
        }"""
    )
    first.answer(await first.request("task.get"), {"ok": "yes"})
    first.refuse(await first.request("task.list"), -32004, {"code": "not_found"})
    await first.request("task.cancel")
    await first.close(1011)
    await gateway.until("Object.keys(ends).length === 3")
    assert await blank_page.evaluate("ends") == {
        "task.get": "yes",
        "task.list": "CallError not_found",
        "task.cancel": "NoAnswer",
    }


async def test_a_kept_position_survives_a_reload(
    gateway: ScriptedGateway, blank_page: Page
) -> None:
    """The client asks for a snapshot too, since the page that held the state is gone."""
    await gateway.begin()
    await blank_page.evaluate(
        """() => { sessionStorage.setItem("gateway.position", '{"epoch":"e1","offset":2}'); }"""
    )
    await blank_page.evaluate("client.close()")
    await blank_page.evaluate(
        """async () => {
          const { GatewayClient } = await import("/client/gateway-client.js");
          client = new GatewayClient("ws://page.test/ws", { storage: sessionStorage });
          client.start();
        }"""
    )
    await gateway.connection()
    second = await gateway.connection()
    params = await second.welcome(offset=3, replayed=1, snapshot=SNAPSHOT)
    assert params["since"] == {"epoch": "e1", "offset": 2}
    assert params["snapshot"] is True
    second.event(3)
    await blank_page.wait_for_function(
        """sessionStorage.getItem("gateway.position").includes(":3}")"""
    )


async def test_the_wait_grows_to_its_bound_and_is_wholly_random(blank_page: Page) -> None:
    await open_blank(blank_page)
    waits = await blank_page.evaluate(
        """async () => {
          const { backoff } = await import("/client/gateway-client.js");
          const bounds = { base_ms: 500, max_ms: 30_000 };
          return [0, 1, 2, 6, 60].map((failures) =>
            [0, 0.5, 1].map((chance) => backoff(failures, { ...bounds, random: () => chance })));
        }"""
    )
    assert waits == [
        *([0, 250, 500], [0, 500, 1000], [0, 1000, 2000]),
        *([0, 15_000, 30_000], [0, 15_000, 30_000]),
    ]
