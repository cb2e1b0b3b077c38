"""Metrics: who may scrape, what is there, that each count moves, and that no label is boundless."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import orjson
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from gateway.domain.meters import NAMES_MAX, OTHER
from tests.transports.http_client import ask, stream
from tests.transports.metrics import Scrape
from tests.transports.world import (
    SECRET,
    World,
    connected,
    token,
    until,
    wire,
    world,
)

ADMIN = token("prometheus", "admin")
PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
PLAIN = "text/plain; version=0.0.4; charset=utf-8"


async def scrape(here: World, *, signed: str | None = None) -> Scrape:
    answer = await ask(here, "GET", "/metrics", token=signed)
    assert (answer.status, answer.headers["content-type"]) == (200, PLAIN), answer.text
    return Scrape(answer.text)


# --- who and how -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (None, 401),
        ("forged", 401),
        (token("ann", "events:read events:read:all tasks:write agent"), 403),
        (ADMIN, 200),
    ],
)
async def test_only_operators_may_scrape(given: str | None, status: int) -> None:
    async with world(secret=SECRET) as here:
        answer = await ask(here, "GET", "/metrics", token=given)
        assert answer.status == status
        assert answer.headers["cache-control"] == "no-store"
        assert ("gateway_" in answer.text) is (status == 200)


async def test_on_an_open_gateway_everybody_may() -> None:
    async with world() as here:
        await scrape(here)


async def test_other_methods_are_answered_as_for_any_document() -> None:
    async with world() as here:
        head = await ask(here, "HEAD", "/metrics")
        assert (head.status, head.text, head.headers["content-type"]) == (200, "", PLAIN)
        options = await ask(here, "OPTIONS", "/metrics")
        assert (options.status, options.headers["allow"]) == (204, "GET, HEAD, OPTIONS")
        assert (await ask(here, "POST", "/metrics")).status == 405


async def test_openmetrics_is_told_to_those_who_ask_for_it() -> None:
    async with world() as here:
        accept = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"
        answer = await ask(here, "GET", "/metrics", headers={"accept": accept})
        assert answer.headers["content-type"].startswith("application/openmetrics-text")
        families = text_string_to_metric_families(answer.text)  # type: ignore[no-untyped-call]
        names = {family.name for family in families}
        assert {"gateway_tasks_finished", "gateway_delivery_seconds"} <= names


async def test_a_gateway_that_does_not_know_the_log_yet_tells_no_state() -> None:
    """Half a log would say that tasks are open which have ended."""
    async with world() as here:
        here.engine._alive = False
        found = await scrape(here)
        assert {"gateway_connections", "gateway_gaps_total"} <= found.names
        assert not {"gateway_tasks_open", "gateway_mode", "gateway_log_offset"} & found.names
        here.engine._alive = True
        assert (await scrape(here))("ready") == 1


# --- what ------------------------------------------------------------------------------------


@pytest.mark.requirement("FLUX-W18")
async def test_the_page_names_exactly_what_is_exported() -> None:
    rows = re.findall(r"^\| `(\w+)` +\|(.*)\|$", PAGE.read_text(), re.MULTILINE)
    async with world() as here:
        # A family without a series is left out: a worker, a breaker and a domain fill the last.
        await ask(here, "POST", "/api/agents", body={"handle": "writer"})
        here.engine.parts.state.breaker("writer", "agent")
        here.engine.parts.state.domains.of("eu-1")
        found = await scrape(here)
    assert sorted(name for name, _ in rows) == sorted(found.names)
    for name, cells in rows:
        told = [cell.strip() for cell in re.split(r"(?<!\\)\|", cells)]
        if name.startswith("gateway_"):
            whose, meaning, _labels, alert = told
            assert whose in ("node", "log")
            assert meaning
            assert alert


@pytest.mark.requirement("FLUX-17")
async def test_the_page_names_every_value_of_a_label() -> None:
    """Series begin with 0, so that the first failure is an increase."""
    page = PAGE.read_text()
    async with world() as here:
        await ask(here, "POST", "/api/agents", body={"handle": "writer"})
        found = await scrape(here)
    for name in ("rejections_total", "resumes_total", "mode", "workers"):
        row = re.search(rf"^\| `gateway_{name}` .*$", page, re.MULTILINE)
        assert row is not None
        listed = [value for (value,) in found.all(name)]
        assert listed
        assert [value for value in listed if value not in row[0]] == []
    outcomes = ("succeeded", "failed", "cancelled", "dead_lettered")
    assert found.all("tasks_finished_total") == {
        (agent, outcome): 0 for agent in ("writer", OTHER) for outcome in outcomes
    }


async def test_a_state_is_told_as_the_statistics_tell_it() -> None:
    async with world() as here:
        for body in ({"agent": "a"}, {"agent": "b", "priority": 9}):
            assert (await ask(here, "POST", "/api/tasks", body=body)).status == 201
        await ask(here, "POST", "/api/agents", body={"handle": "writer"})
        async with connected(here) as client:
            await client.result("subscribe", topics=["*"])
            stats = (await ask(here, "GET", "/api/stats")).json
            found = await scrape(here)
    assert found("queue_depth") == stats["queue"]["depth"] == 2
    assert found("queue_oldest_age_seconds") >= stats["queue"]["oldest_age"]
    assert found("tasks_open") == sum(
        stats["tasks"]["by_status"][status] for status in ("pending", "running", "waiting")
    )
    assert found("tasks_without_end") == 0
    assert {mode for (mode,), now in found.all("mode").items() if now} == {stats["mode"]}
    assert {k: v for (k,), v in found.all("workers").items()} == stats["agents"]["by_status"]
    assert found("agent_health_score", agent="writer") == 1
    assert found("connections") == stats["connections"] == 1
    assert found("log_events") == stats["log"]["events"]
    assert found("log_bytes") == stats["log"]["bytes"]
    assert found("log_offset") == stats["position"]["offset"]
    assert found("ready") == 1


# --- what moves ------------------------------------------------------------------------------


async def test_each_verdict_on_a_position_counts() -> None:
    async with world() as here, connected(here) as client, connected(here) as other:
        await here.publish()
        epoch = here.engine.log.epoch
        await client.result("subscribe", topics=["user:ann"], since={"epoch": epoch, "offset": 1})
        await other.result("subscribe", topics=["user:ann"], since={"epoch": "old", "offset": 1})
        here.hub.lag_wait_s = 0.01
        async with connected(here) as third:
            ahead = {"epoch": epoch, "offset": 99}
            reply = await third.ask("subscribe", topics=["user:ann"], since=ahead)
            assert reply["error"]["data"]["code"] == "unavailable"
        found = await scrape(here)
    assert found.all("resumes_total") == {("recovered",): 1, ("refused",): 1, ("behind",): 1}


@pytest.mark.requirement("FLUX-17")
async def test_a_gap_counts() -> None:
    limits: dict[str, Any] = {"send_bytes": 32_768, "log_events": 100, "stall_timeout": 60.0}
    async with world(**limits) as here, connected(here) as slow:
        await slow.result("subscribe", topics=["user:ann"])
        (follower,) = here.hub.followers
        slow.socket.transport.pause_reading()
        while follower.live:
            await here.publish(count=20, size=3000)
            await here.engine.clock.sleep(0)
        await here.publish(count=200)  # twice as many as are kept
        slow.socket.transport.resume_reading()
        await slow.notice("gap")
        gaps = here.hub.gaps
        found = await scrape(here)
    assert found("gaps_total") == gaps >= 1


@pytest.mark.requirement("FLUX-17")
async def test_a_freed_reader_counts() -> None:
    limits: dict[str, Any] = {"send_bytes": 32_768, "stall_timeout": 0.5}
    async with world(**limits) as here, connected(here) as reader:
        await reader.result("subscribe", topics=["user:ann"])
        reader.socket.transport.pause_reading()
        await here.publish(count=4000, size=2000)
        await until(lambda: here.hub.slow_freed == 1)
        found = await scrape(here)
        reader.socket.transport.abort()
    assert found("slow_readers_freed_total") == 1
    assert found("connections") == 0


async def test_a_delivery_counts_once_for_each_connection_by_either_door() -> None:
    async with world() as here, connected(here) as one, connected(here) as two:
        for client in (one, two):
            await client.result("subscribe", topics=["user:ann"])
        async with stream(here, "/api/events/stream?topic=user:ann") as reader:
            await reader.next()
            before = await scrape(here)
            await here.publish(count=5)
            await one.events(5)
            await two.events(5)
            await reader.events(5)
            found = await scrape(here)
    assert before("delivery_seconds_count") == 0
    assert found("delivery_seconds_count") == 15
    assert found("delivery_seconds_bucket", le="+Inf") == 15
    assert 0 < found("delivery_seconds_sum") < 15 * 5


async def test_requests_over_a_rate_count_by_every_door() -> None:
    async with world(secret=SECRET, rate_http=1, rate_ws=1, publish_bytes=1000) as here:
        ann = token("ann", "events:read events:write")
        answers = [await ask(here, "GET", "/api/tasks", token=ann) for _ in range(4)]
        refused = sum(answer.status == 429 for answer in answers)
        async with wire(here) as client:
            await client.result("connect", token=ann)
            replies = [await client.ask("task.list") for _ in range(4)]
            refused += sum("error" in reply for reply in replies)
        found = await scrape(here, signed=ADMIN)
    assert refused >= 4
    assert found("rejections_total", reason="rate_limited") == refused


async def test_bytes_over_a_rate_count() -> None:
    async with world(secret=SECRET, publish_bytes=1) as here:
        eve = token("eve", "events:write")
        note = {
            "type": "notification",
            "subject": "s",
            "channel": "c",
            "payload": {"x": "y" * 60_000},
        }
        statuses = [
            (await ask(here, "POST", "/api/events", token=eve, body=note)).status for _ in range(20)
        ]
        found = await scrape(here, signed=ADMIN)
    assert 429 in statuses
    assert found("rejections_total", reason="rate_limited") == statuses.count(429)


async def test_connections_that_find_no_room_count() -> None:
    settings: dict[str, Any] = {"max_connections_user": 1}
    async with world(secret=SECRET, **settings) as here, wire(here) as first, wire(here) as second:
        await first.result("connect", token=token("ann"))
        await second.send(
            {"jsonrpc": "2.0", "id": 1, "method": "connect", "params": {"token": token("ann")}}
        )
        assert (await second.closed())[0] == 4004
        async with stream(here, "/api/events/stream", token=token("ann")) as reader:
            assert "too_many_connections" in orjson.dumps(await reader.rest()).decode()
        found = await scrape(here, signed=ADMIN)
    assert found("rejections_total", reason="too_many_connections") == 2


async def test_a_full_gateway_counts_whom_it_turns_away() -> None:
    async with world(max_connections=2) as here, connected(here):
        # The scrape is a connection, too, and comes when the others are gone.
        async with wire(here), wire(here) as late:
            await late.closed()
        found = await scrape(here)
    assert found("rejections_total", reason="too_many_connections") >= 1


# --- bounds ----------------------------------------------------------------------------------


@pytest.mark.requirement("FLUX-17")
async def test_no_client_can_make_series_without_end() -> None:
    async with world() as here:
        for number in range(NAMES_MAX // 50 + 1):
            agents = [{"name": f"a{number}-{place}"} for place in range(50)]
            body = {"handle": f"w{number}", "agents": agents}
            assert (await ask(here, "POST", "/api/agents", body=body)).status == 201
        for number in range(NAMES_MAX + 50):
            here.engine.parts.state.breaker(f"b{number}", "agent")
            here.engine.parts.state.domains.of(f"d{number}")
        first = await scrape(here)
        # Tasks for agents that nobody has: they end, and make no series.
        for number in range(3):
            body = {"agent": f"nobody{number}"}
            made = (await ask(here, "POST", "/api/tasks", body=body)).json["task_id"]
            assert (await ask(here, "POST", f"/api/tasks/{made}/cancel", body={})).status == 200
        found = await scrape(here)
    assert len(first.all("agent_health_score")) == NAMES_MAX + 1
    assert found.all("agent_health_score").keys() == first.all("agent_health_score").keys()
    assert len(found.all("tasks_finished_total")) == 4 * (NAMES_MAX + 1)
    assert found("tasks_finished_total", agent=OTHER, outcome="cancelled") == 3
    assert len(found.all("domain_failure_rate")) == NAMES_MAX + 1
    states = found.all("breaker_state")
    assert len(states) == 3 * (NAMES_MAX + 1)
    assert states[OTHER, "closed"] == 50
    assert sum(count for (_, state), count in states.items() if state == "closed") == 150
