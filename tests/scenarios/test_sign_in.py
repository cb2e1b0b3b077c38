"""Signing in with real tokens of a sign-in service that changes its keys, through every door."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import jwt
import orjson
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric import ec
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from gateway.app.clock import SystemClock
from gateway.client.connection import Connection, Refused
from gateway.client.http_calls import HttpCalls
from tests.identity import Provider
from tests.scenarios.harness import (
    WAIT_S,
    GatewayProcess,
    browser,
    gateway_process,
    worker_process,
)
from tests.transports.mcp_client import HEADERS, call

# The store has no part in it, so once is enough.
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.own_store]

CLOCK = SystemClock()
AGENTS = "tests.scenarios.worker_agents:gateway"
OURS: dict[str, Any] = {
    "aud": ["https://gateway.example", "other"],
    "iss": "https://sign-in.example/",
}
SETTINGS: dict[str, Any] = {
    "token_audience": "https://gateway.example",
    "token_issuer": OURS["iss"],
}
USER = "events:read events:write tasks:write"

USER_IDS = [
    "auth0|5f7c1a2b",
    "google-oauth2|1070/2",
    "ann+test@example.org",
    "Ann B. Müller",
    "日本 太郎",
    "50%25 & a=b#c?d",
    'x:y,z;"quoted"\\',
    "é" * 256,
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def provider() -> AsyncIterator[Provider]:
    async with Provider() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(provider: Provider) -> AsyncIterator[GatewayProcess]:
    async with gateway_process(target=AGENTS, jwks=provider.url, **SETTINGS) as running:
        yield running


def ws(gateway: GatewayProcess) -> str:
    return gateway.url.replace("http", "ws", 1) + "/ws"


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


async def tool(gateway: GatewayProcess, token: str, name: str, **arguments: Any) -> Any:
    """Call an operation as an MCP tool; gives the HTTP status, and its structured result."""
    answer = await gateway.http.post(
        "/mcp", json=call(name, arguments), headers={**HEADERS, **bearer(token)}
    )
    if answer.status_code != 200:
        return answer.status_code, answer.json()
    (line,) = [line for line in answer.text.splitlines() if line.startswith("data: {")] or [
        "data: " + answer.text
    ]
    return 200, orjson.loads(line.removeprefix("data: "))["result"]["structuredContent"]


async def streamed(gateway: GatewayProcess, token: str, topic: str) -> dict[str, Any]:
    """Give the first event that a stream of server-sent events has from the beginning."""
    query = {"topic": topic, "since": "start"}
    async with (
        asyncio.timeout(WAIT_S),
        gateway.http.stream(
            "GET", "/api/events/stream", params=query, headers=bearer(token)
        ) as answer,
    ):
        assert answer.status_code == 200
        async for line in answer.aiter_lines():
            if line.startswith("data: "):
                event: dict[str, Any] = orjson.loads(line.removeprefix("data: "))
                if "type" in event:
                    return event
    raise AssertionError("the stream ended")


async def closed_with(
    gateway: GatewayProcess, token: str, *, in_handshake: bool = False
) -> tuple[int | None, dict[str, Any] | None]:
    """Try to connect a WebSocket; gives the close code, and the error that came before it."""
    names = [Subprotocol("agent-events.v1")]
    names += [Subprotocol(f"bearer.{token}")] if in_handshake else []
    reply = None
    async with asyncio.timeout(WAIT_S), connect(ws(gateway), subprotocols=names) as socket:
        if not in_handshake:
            frame = {"jsonrpc": "2.0", "id": 1, "method": "connect", "params": {"token": token}}
            await socket.send(orjson.dumps(frame).decode())
        with contextlib.suppress(ConnectionClosed):
            reply = orjson.loads(await socket.recv())
            await socket.recv()
        return socket.close_code, reply and reply["error"]


@pytest.mark.parametrize("user_id", USER_IDS)
async def test_a_user_id_goes_through_every_door_as_it_was_issued(
    gateway: GatewayProcess, provider: Provider, user_id: str
) -> None:
    token = provider.token(user_id, USER, **OURS)
    topic, headers, http = f"user:{user_id}", bearer(token), gateway.http
    async with browser(gateway.url, token=token, topics=[topic, f"recipient:{user_id}"]) as page:
        assert page.hello["user_id"] == user_id
        body = {"agent": "counter", "input": {"question": "1"}, "user_id": user_id}
        answer = await http.post("/api/tasks", json=body, headers=headers)
        assert answer.status_code == 201, answer.text
        task_id = answer.json()["task_id"]
        assert (await page.finished(task_id))["user_id"] == user_id
        shown = await http.get(f"/api/tasks/{task_id}", headers=headers)
        assert shown.json()["user_id"] == user_id
        note = {"type": "notification", "subject": "s", "payload": 1, "recipient_id": user_id}
        sent = await http.post("/api/events", json=note, headers=headers)
        assert sent.status_code == 201, sent.text
        told = await page.event("notification", event_id=sent.json()["event_id"])
        assert (told["sender"], told["recipient_id"]) == (user_id, user_id)
    for query, count in (({"topic": topic}, 1), ({"recipient_id": user_id}, 1), ({}, 1)):
        listed = await http.get("/api/events", params={**query, "limit": 1}, headers=headers)
        assert len(listed.json()["items"]) == count, listed.text
    tasks = await http.get("/api/tasks", params={"user_id": user_id}, headers=headers)
    assert [task["task_id"] for task in tasks.json()["items"]] == [task_id]
    impact = await http.get(f"/api/users/{quote(user_id, safe='')}/impact", headers=headers)
    assert (impact.status_code, impact.json()["user_id"]) == (200, user_id)
    assert (await streamed(gateway, token, topic))["task_id"] == task_id
    status, listed_too = await tool(gateway, token, "task.list", user_id=user_id)
    assert (status, listed_too["items"][0]["task_id"]) == (200, task_id)
    # Our own clients, which put it into an address.
    calls = HttpCalls(ws(gateway), token=token)
    assert (await calls.call("impact", {"user_id": user_id}))["user_id"] == user_id
    async with Connection(ws(gateway), token=token, topics=[topic], since="start") as client:
        async with asyncio.timeout(WAIT_S):
            async for event in client:
                assert event["user_id"] == user_id
                break
    # Nobody else's topics open.
    for other in ("user:ann", f"user:{user_id[:-1]}"):
        refused = await http.get("/api/events", params={"topic": other}, headers=headers)
        assert refused.status_code == 403
    operator = provider.token("ops", "admin", **OURS)
    stats = await http.get("/api/stats", headers=bearer(operator))
    assert stats.json()["by_user"][user_id]["finished"] == 1


async def test_on_the_terminal_a_user_id_is_as_it_was_issued(
    gateway: GatewayProcess, provider: Provider
) -> None:
    """The gateway says who the token is; `tail` follows that one."""
    user_id = "auth0|tail er"
    token = provider.token(user_id, USER, **OURS)
    note = {"type": "notification", "subject": "s", "user_id": user_id, "recipient_id": "x"}
    sent = await gateway.http.post(
        "/api/events", json={**note, "payload": 1}, headers=bearer(token)
    )
    assert sent.status_code == 201, sent.text
    tail = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "tail", "--since", "start", "--json"),
        env={**os.environ, "GATEWAY_URL": ws(gateway), "GATEWAY_TOKEN": token},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert tail.stdout is not None
    try:
        async with asyncio.timeout(20):
            event = orjson.loads(await tail.stdout.readline())
    finally:
        tail.terminate()
        await tail.wait()
    assert (event["user_id"], event["sender"]) == (user_id, user_id)


# --- what is refused ------------------------------------------------------------------------------


def strange(**claims: Any) -> str:
    """A token of a key that nobody publishes."""
    key = ec.generate_private_key(ec.SECP256R1())
    whole = {"sub": "ann", "scope": "admin", "exp": CLOCK.wall() + 60, **OURS, **claims}
    return jwt.encode(whole, key, "ES256", headers={"kid": "strange"})


@pytest.mark.requirement("MESH-W15")
async def test_what_was_not_issued_for_this_gateway_opens_no_door(
    gateway: GatewayProcess, provider: Provider
) -> None:
    """And nothing says why, which would only help those who try."""
    refused = [
        provider.token("ann", "admin", **{**OURS, "aud": "https://other.example"}),
        provider.token("ann", "admin", iss=OURS["iss"]),
        provider.token("ann", "admin", **{**OURS, "iss": "https://other.example/"}),
        provider.token("ann", "admin", **OURS, exp=None),
        provider.token("*", "admin", **OURS),
        provider.token("ann", "admin", **OURS, channels=["my news"]),
        strange(),
        jwt.encode({"sub": "ann", "exp": CLOCK.wall() + 60, **OURS}, "s" * 32, "HS256"),
    ]
    sentences = set()
    for token in refused:
        for path in ("/api/tasks", "/api/events", "/api/events/stream"):
            answer = await gateway.http.get(path, headers=bearer(token))
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
            sentences.add(answer.json()["detail"])
        status, _ = await tool(gateway, token, "task.list")
        assert status == 401
        code, error = await closed_with(gateway, token)
        assert (code, error and error["data"]["code"]) == (4500, "unauthenticated")
        assert (await closed_with(gateway, token, in_handshake=True))[0] == 4500
    good = provider.token("ann", "admin", **OURS)
    for query in ("token", "access_token"):
        answer = await gateway.http.get("/api/tasks", params={query: good})
        assert answer.status_code == 401, "addresses are written into many logs"
    assert sentences == {"the token is not accepted; the gateway's log says why"}


async def test_a_token_that_has_expired_lets_its_client_come_back_with_another(
    gateway: GatewayProcess, provider: Provider
) -> None:
    token = provider.token("ann", **OURS, exp=CLOCK.wall() - 1)
    answer = await gateway.http.get("/api/tasks", headers=bearer(token))
    assert (answer.status_code, answer.json()["code"]) == (401, "token_expired")
    assert (await closed_with(gateway, token))[0] == 4005
    tokens = iter([token, provider.token("ann", **OURS)])
    async with Connection(ws(gateway), token=lambda: next(tokens)) as client:
        assert client.hello is not None
        assert client.hello["user_id"] == "ann"


async def test_claims_narrow_channels_and_agents_through_every_door(
    gateway: GatewayProcess, provider: Provider
) -> None:
    token = provider.token(
        "narrow", f"{USER} agent", **OURS, channels=["c1"], agents=["researcher"]
    )
    headers, http = bearer(token), gateway.http
    note = {"type": "notification", "subject": "s", "payload": 1}

    async with browser(gateway.url, token=token, topics=["channel:c1"]) as page:
        refused = await page.call("subscribe", topics=["channel:c2"])
        assert refused["error"]["data"] == {"code": "not_permitted", "field": "topics"}
        for channel, good in (("c1", True), ("c2", False)):
            for query in ({"topic": f"channel:{channel}"}, {"channel": channel}):
                listed = await http.get("/api/events", params=query, headers=headers)
                assert listed.status_code == (200 if good else 403)
            stream_of = f"/api/events/stream?topic=channel:{channel}"
            head = await http.head(stream_of, headers=headers)
            assert head.status_code == (200 if good else 403)
            sent = await http.post(
                "/api/events", json={**note, "channel": channel}, headers=headers
            )
            assert sent.status_code == (201 if good else 403), sent.text
            over_ws = await page.call("event.publish", **note, channel=channel)
            assert ("result" in over_ws) is good
            _, over_mcp = await tool(gateway, token, "event.publish", **note, channel=channel)
            assert ("event_id" in over_mcp) is good
            blamed = None if good else "channel"
            assert over_ws.get("error", {}).get("data", {}).get("field") == blamed
            assert over_mcp.get("field") == sent.json().get("field") == blamed
        for asked in (
            {"handle": "writer"},
            {"handle": "researcher", "agents": [{"name": "writer"}]},
            {"handle": "x", "agents": [{"name": "researcher"}, {"name": "writer"}]},
        ):
            told = {"code": "not_permitted", "field": "agents"}
            over_ws = await page.call("agent.register", **asked)
            assert over_ws["error"]["data"] == told
            _, over_mcp = await tool(gateway, token, "agent.register", **asked)
            assert {name: over_mcp.get(name) for name in told} == told
            over_http = await http.post("/api/agents", json=asked, headers=headers)
            assert (over_http.status_code, over_http.json()["field"]) == (403, "agents")
        for asked in (
            {"handle": "researcher"},
            {"handle": "x", "agents": [{"name": "researcher"}]},
        ):
            over_http = await http.post("/api/agents", json=asked, headers=headers)
            assert over_http.status_code == 201, over_http.text
        # It speaks for no other agent, either.
        report = {"type": "agent_error", "user_id": "ann", "error_type": "timeout"}
        for name, status in (("researcher", 201), ("writer", 403)):
            body = {**report, "agent_name": name}
            answer = await http.post("/api/events", json=body, headers=headers)
            assert answer.status_code == status, answer.text


async def test_a_worker_works_under_the_names_that_its_token_has(
    gateway: GatewayProcess, provider: Provider
) -> None:
    """What would be refused again is not tried again."""
    one = provider.token("w", "agent", **OURS, agents=["counter"])
    async with worker_process(
        gateway.url, target=AGENTS, env={"GATEWAY_TOKEN": one}, wait=False, notes=True
    ) as worker:
        assert "is not for the agent" in await worker.note("Error")
        async with asyncio.timeout(20):
            assert await worker.process.wait() == 1


# --- keys that change -----------------------------------------------------------------------------


async def test_a_key_that_is_new_is_taken_by_every_door_and_the_old_one_ends() -> None:
    async with (
        Provider() as provider,
        gateway_process(target=None, jwks=provider.url, **SETTINGS) as gateway,
    ):
        old = provider.token("ann", USER, **OURS)
        async with browser(gateway.url, token=old, topics=["user:ann"]) as page:
            provider.rotate()
            # Many at once, by each door: one of them has the set read.
            token = provider.token("ann", USER, **OURS)
            statuses = await asyncio.gather(
                *(gateway.http.get("/api/tasks", headers=bearer(token)) for _ in range(20)),
                tool(gateway, token, "task.list"),
                gateway.http.head("/api/events/stream", headers=bearer(token)),
            )
            assert {getattr(each, "status_code", 200) for each in statuses} == {200}
            async with browser(gateway.url, token=token, topics=["user:ann"]):
                pass
            assert "result" in await page.call("connect", token=token), "a refresh, too"
            assert provider.asked == 2
            answer = await gateway.http.get("/api/tasks", headers=bearer(old))
            assert answer.status_code in (401, 503), "the set has it no longer"
            assert "result" in await page.call("ping"), "who is in stays in"


async def test_a_gateway_starts_without_its_sign_in_and_lets_everybody_come_back() -> None:
    """4500 would keep every browser out for ever, although only the sign-in is away."""
    async with Provider() as provider:
        await provider.stop()
        token = provider.token("ann", USER, **OURS)
        async with gateway_process(target=None, jwks=provider.url, **SETTINGS) as gateway:
            answer = await gateway.http.get("/api/tasks", headers=bearer(token))
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
            assert 1 <= int(answer.headers["retry-after"]) <= 10
            # An EventSource would stop for ever at a 503.
            answer = await gateway.http.get("/api/events/stream", headers=bearer(token))
            assert answer.status_code == 200
            assert answer.text.startswith("retry: ")
            assert "event: unavailable" in answer.text
            message = call("task.list")
            answer = await gateway.http.post(
                "/mcp", json=message, headers={**HEADERS, **bearer(token)}
            )
            assert answer.status_code == 503
            assert 1 <= int(answer.headers["retry-after"]) <= 10
            code, error = await closed_with(gateway, token)
            assert (code, error and error["data"]["code"]) == (1013, "unavailable")
            assert (await closed_with(gateway, token, in_handshake=True))[0] == 1013
            assert (await gateway.http.get("/health")).status_code == 200
            client = Connection(ws(gateway), token=token, topics=["user:ann"])
            entering = asyncio.create_task(client.__aenter__())
            try:
                await provider.start()
                async with asyncio.timeout(20):
                    await entering
                assert client.hello is not None
                assert client.hello["user_id"] == "ann"
            finally:
                entering.cancel()
                await client.close()
            # Then what is wrong is wrong for good.
            with pytest.raises(Refused):
                async with Connection(ws(gateway), token=strange()):
                    pass
