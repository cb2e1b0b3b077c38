"""Notifications: live to whom they concern, by whichever door they came in, and readable later."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest
import pytest_asyncio

from gateway.app.clock import SystemClock
from tests.scenarios.harness import Browser, GatewayProcess, browser, gateway_process

pytestmark = pytest.mark.asyncio(loop_scope="module")

CLOCK = SystemClock()
SECRET = "s" * 32


def token(user_id: str, scope: str = "events:read events:write") -> str:
    claims = {"sub": user_id, "scope": scope, "exp": int(CLOCK.wall()) + 3600}
    return jwt.encode(claims, SECRET, "HS256")


def note(**fields: Any) -> dict[str, Any]:
    return {"type": "notification", "subject": "s", "payload": 1, **fields}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway() -> AsyncIterator[GatewayProcess]:
    async with gateway_process(target=None, token_secret=SECRET) as running:
        yield running


async def post(gateway: GatewayProcess, sender: str, /, **fields: Any) -> str:
    """Publish a notification over HTTP; gives its event_id."""
    headers = {"authorization": f"Bearer {token(sender)}"}
    answer = await gateway.http.post("/api/events", json=note(**fields), headers=headers)
    assert answer.status_code == 201, answer.text
    event_id: str = answer.json()["event_id"]
    return event_id


async def listed(gateway: GatewayProcess, user_id: str, **query: Any) -> list[Any]:
    headers = {"authorization": f"Bearer {token(user_id)}"}
    answer = await gateway.http.get("/api/events", params=query, headers=headers)
    assert answer.status_code == 200, answer.text
    items: list[Any] = answer.json()["items"]
    return items


def payloads(watching: Browser) -> list[Any]:
    return [event["payload"] for event in watching.events]


@pytest.mark.requirement("MESH-12", "MESH-W17")
async def test_an_addressed_notification_reaches_its_recipient_alone_by_every_door(
    gateway: GatewayProcess,
) -> None:
    """That others get nothing is seen by what they do get afterwards."""
    async with (
        browser(gateway.url, token=token("bob"), topics=["recipient:bob"]) as bob,
        browser(gateway.url, token=token("cy"), topics=["recipient:cy", "channel:c12"]) as cy,
        browser(gateway.url, token=token("ann"), topics=["user:ann", "channel:other"]) as ann,
    ):
        began = CLOCK.monotonic()
        first = await post(gateway, "ann", recipient_id="bob", payload="over HTTP")
        await bob.event("notification", event_id=first)
        pushed_s = CLOCK.monotonic() - began
        reply = await ann.call("event.publish", **note(recipient_id="bob", payload="over WS"))
        await bob.event("notification", event_id=reply["result"]["event_id"])
        both = await post(gateway, "ann", recipient_id="bob", channel="c12", payload="both")
        for watching in (bob, cy):
            await watching.event("notification", event_id=both)
        sentinels = {
            await post(gateway, "bob", **{kind: name}, payload="last")
            for kind, name in (("recipient_id", "cy"), ("channel", "other"))
        }
        told = await asyncio.gather(*(w.event("notification", payload="last") for w in (cy, ann)))
        assert {event["event_id"] for event in told} == sentinels
        assert payloads(bob) == ["over HTTP", "over WS", "both"]
        assert payloads(cy) == ["both", "last"]
        assert payloads(ann) == ["last"]
        assert {event["sender"] for event in bob.events} == {"ann"}
    assert pushed_s < 5, "the target is 0.1 s on a machine that does nothing else"
    since = "{epoch}:{offset}".format(**bob.subscribed)
    found = await listed(gateway, "bob", recipient_id="bob", since=since)
    assert [event["payload"] for event in found] == ["over HTTP", "over WS", "both"]
    found = await listed(gateway, "bob", recipient_id="bob", channel="c12")
    assert [event["payload"] for event in found] == ["both"]
    for query in ({"recipient_id": "bob"}, {"topic": "recipient:bob"}):
        headers = {"authorization": f"Bearer {token('cy')}"}
        refused = await gateway.http.get("/api/events", params=query, headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (403, "not_permitted")


@pytest.mark.requirement("MESH-13")
async def test_a_notification_to_a_channel_reaches_each_listener_once(
    gateway: GatewayProcess,
) -> None:
    """Also a listener that it concerns twice: by the channel and as its recipient."""
    async with (
        browser(gateway.url, token=token("bob"), topics=["channel:c13", "recipient:bob"]) as bob,
        browser(gateway.url, token=token("cy"), topics=["channel:c13"]) as cy,
        browser(gateway.url, token=token("ann"), topics=["channel:c13", "user:ann"]) as ann,
    ):
        for number in range(20):
            await post(gateway, "ann", channel="c13", user_id="ann", payload=number)
        await post(gateway, "ann", channel="c13", recipient_id="bob", payload="last")
        for watching in (bob, cy, ann):
            await watching.event("notification", payload="last")
            assert payloads(watching) == [*range(20), "last"]


@pytest.mark.requirement("MESH-14")
async def test_pages_lose_nothing_of_what_came_at_once(gateway: GatewayProcess) -> None:
    """They go by position: many of these events have the same time."""
    headers = {"authorization": f"Bearer {token('ops', 'admin')}"}

    async def some(numbers: range) -> None:
        for number in numbers:
            body = note(channel="c14", payload=number)
            answer = await gateway.http.post("/api/events", json=body, headers=headers)
            assert answer.status_code == 201, answer.text

    await asyncio.gather(*(some(range(n, 1000, 20)) for n in range(20)))
    found: list[Any] = []
    query: dict[str, Any] = {"channel": "c14", "limit": 10}
    while True:
        answer = (await gateway.http.get("/api/events", params=query, headers=headers)).json()
        found += answer["items"]
        if answer["next"] is None:
            break
        query["cursor"] = answer["next"]
    assert sorted(event["payload"] for event in found) == list(range(1000))
    offsets = [event["offset"] for event in found]
    assert offsets == sorted(set(offsets))
    assert len({event["timestamp"] for event in found}) < 1000


@pytest.mark.requirement("MESH-15")
async def test_a_thread_is_its_root_and_its_replies(gateway: GatewayProcess) -> None:
    root = await post(gateway, "dora", recipient_id="eve", payload="root")
    reply = await post(gateway, "eve", recipient_id="dora", payload="reply", parent_event_id=root)
    await post(gateway, "dora", recipient_id="eve", payload="again", parent_event_id=reply)
    for user in ("dora", "eve"):
        thread = await listed(gateway, user, parent_event_id=root)
        assert [event["payload"] for event in thread] == ["root", "reply", "again"]
    assert await listed(gateway, "cy", parent_event_id=root) == []
    for user, parent in (("cy", root), ("dora", "unknown")):
        headers = {"authorization": f"Bearer {token(user)}"}
        body = note(recipient_id="eve", parent_event_id=parent)
        answer = await gateway.http.post("/api/events", json=body, headers=headers)
        problem = answer.json()
        assert (answer.status_code, problem["field"]) == (404, "parent_event_id")
        assert "leave it out" in problem["detail"]


@pytest.mark.requirement("MESH-W20")
async def test_events_are_pushed_and_found_by_topic_kind_thread_and_position(
    gateway: GatewayProcess,
) -> None:
    topics = ["user:finn", "recipient:finn", "channel:c20"]
    async with browser(gateway.url, token=token("finn"), topics=topics) as finn:
        root = await post(gateway, "gil", recipient_id="finn", payload="root")
        await post(gateway, "gil", channel="c20", payload="channel")
        reply = await post(
            gateway,
            "finn",
            recipient_id="gil",
            user_id="finn",
            parent_event_id=root,
            payload="reply",
        )
        made = {"agent": "nobody", "input": 1}
        headers = {"authorization": f"Bearer {token('finn', 'events:read tasks:write')}"}
        task = (await gateway.http.post("/api/tasks", json=made, headers=headers)).json()
        await finn.event("task_submitted", task_id=task["task_id"])
        await post(gateway, "gil", channel="c20", recipient_id="finn", payload="both")
        await finn.event("notification", payload="both")
        pushed = list(finn.events)
    assert [event.get("payload") for event in pushed] == [
        "root",
        "channel",
        "reply",
        None,
        None,
        "both",
    ]
    # Nobody serves the task, which is told at once.
    assert [event["type"] for event in pushed[3:5]] == ["task_submitted", "task_waiting"]
    begin = "{epoch}:{offset}".format(**finn.subscribed)
    middle = f"{pushed[1]['epoch']}:{pushed[1]['offset']}"
    for query, expected in (
        ({"topic": "recipient:finn"}, [0, 5]),
        ({"topic": "channel:c20"}, [1, 5]),
        ({"channel": "c20", "recipient_id": "finn"}, [5]),
        ({"topic": f"task:{task['task_id']}"}, [3, 4]),
        ({"topic": "user:finn"}, [2, 3, 4]),
        ({"type": "notification", "topic": "user:finn"}, [2]),
        ({"type": "task_submitted"}, [3]),
        ({"type": "agent_error"}, []),
        ({"parent_event_id": root}, [0, 2]),
        ({"parent_event_id": root, "since": middle}, [2]),
        ({"topic": "recipient:finn", "since": middle}, [5]),
    ):
        found = await listed(gateway, "finn", **{"since": begin, **query})
        assert found == [pushed[number] for number in expected], query
    assert reply == pushed[2]["event_id"]


@pytest.mark.own_store
@pytest.mark.requirement("MESH-12")
async def test_notifications_and_threads_outlive_the_gateway(store: dict[str, Any]) -> None:
    async with gateway_process(target=None, token_secret=SECRET, **store) as first:
        root = await post(first, "ann", recipient_id="bob", payload="before")
        await first.stop(signal.SIGKILL)
    async with gateway_process(target=None, token_secret=SECRET, **store) as second:
        found = await listed(second, "bob", recipient_id="bob")
        assert [event["event_id"] for event in found] == [root]
        await post(second, "bob", recipient_id="ann", payload="after", parent_event_id=root)
        thread = await listed(second, "ann", parent_event_id=root)
        assert [event["payload"] for event in thread] == ["before", "after"]
