"""Requests in quick sequence: all answered, with keep-alive or not, also when all is deleted."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import psutil
import pytest

from gateway.app.clock import SystemClock
from tests.scenarios.doors import SocketDoor, ToolDoor, tools_of
from tests.scenarios.harness import GatewayProcess, browser, gateway_process
from tests.scenarios.plain_requests import (
    over_new_connections,
    over_one_connection,
    p99_ms,
    tool_call,
)
from tests.soak import times

pytestmark = pytest.mark.asyncio(loop_scope="module")

CLOCK = SystemClock()
PATHS = ("/api/agents", "/api/tasks", "/api/stats", "/api/events?limit=5", "/api/breakers")
COUNT = 1000


@pytest.mark.requirement("WEFT-12", "WEFT-W3")
async def test_a_thousand_quick_requests_are_all_answered_also_when_all_is_deleted(
    record_property: Any,
) -> None:
    """The true cause of the original's hanging requests was a listing of nothing."""
    async with gateway_process(target=None) as gateway:
        workers = await asyncio.gather(*(register(gateway) for _ in range(20)))
        for number in range(20):
            await gateway.task("writer", str(number))
        await all_answered(gateway, record_property, "full")
        for worker in workers:
            path, secret = f"/api/agents/{worker['agent_id']}", worker["agent_secret"]
            removed = await gateway.http.delete(path, headers={"agent-secret": secret})
            assert removed.status_code == 200, removed.text
        for task in (await gateway.get("/api/tasks"))["items"]:
            cancelled = await gateway.http.post(f"/api/tasks/{task['task_id']}/cancel")
            assert cancelled.status_code == 200, cancelled.text
        assert (await gateway.get("/api/stats"))["agents"]["by_status"]["offline"] == 20
        await all_answered(gateway, record_property, "deleted")


async def all_answered(gateway: GatewayProcess, record_property: Any, when: str) -> None:
    for way in (over_one_connection, over_new_connections):
        answers = await way(gateway.port, PATHS, COUNT)
        assert Counter((answer.status, answer.whole) for answer in answers) == {(200, True): COUNT}
        record_property(f"{when}, {way.__name__}: p99 ms", round(p99_ms(answers), 2))


async def test_a_gateway_that_never_had_anything_answers_as_well() -> None:
    async with gateway_process(target=None) as gateway:
        answers = await over_one_connection(gateway.port, PATHS, 50)
        assert {answer.status for answer in answers} == {200}


# --- what is left of them ------------------------------------------------------------------------

OPERATIONS = ("task.list", "agent.list", "event.list")


async def asked_by_http(gateway: GatewayProcess, count: int, *, kept: bool) -> int:
    way = over_one_connection if kept else over_new_connections
    answers = await way(gateway.port, PATHS, count)
    return sum(answer.status == 200 and answer.whole for answer in answers)


async def asked_by_tool(gateway: GatewayProcess, count: int, *, kept: bool) -> int:
    way = over_one_connection if kept else over_new_connections
    answers = await way(gateway.port, [tool_call(name) for name in OPERATIONS], count)
    return sum(answer.status == 200 and answer.whole for answer in answers)


async def asked_by_client(gateway: GatewayProcess, count: int, *, kept: bool) -> int:
    """By the official client of MCP; a new one begins with a handshake."""
    done = 0
    while done < count:
        async with tools_of(gateway) as tools:
            for _ in range(count if kept else 1):
                refused, _ = await ToolDoor(tools).call(OPERATIONS[done % len(OPERATIONS)])
                assert refused is None
                done += 1
    return done


async def asked_by_socket(gateway: GatewayProcess, count: int, *, kept: bool) -> int:
    done = 0
    while done < count:
        async with browser(gateway.url, "ann") as page:
            for _ in range(count if kept else 1):
                refused, _ = await SocketDoor(page).call(OPERATIONS[done % len(OPERATIONS)])
                assert refused is None
                done += 1
    return done


WAYS = {
    asked_by_http: COUNT,
    asked_by_socket: times(400, COUNT),
    asked_by_tool: times(300, COUNT),
    asked_by_client: times(10, COUNT),
}


@pytest.mark.requirement("WEFT-12", "WEFT-W3")
@pytest.mark.timeout(times(60, 900))
async def test_nothing_is_left_of_many_requests_by_each_door(record_property: Any) -> None:
    """Over one connection and over new ones: no task, no descriptor, no thread, no memory."""
    target = "tests.scenarios.counting_agents:gateway"
    async with gateway_process(target=target, rate_http=0, rate_ws=0) as gateway:

        async def all_ways(most: int) -> None:
            for way, count in WAYS.items():
                for kept in (True, False):
                    began, count = CLOCK.monotonic(), min(count, most)
                    assert await way(gateway, count, kept=kept) == count
                    took_ms = (CLOCK.monotonic() - began) * 1000 / count
                    record_property(f"{way.__name__}, kept {kept}: ms each", round(took_ms, 2))

        await all_ways(10)  # what is loaded and kept with the first of each
        first, before = await held_by(gateway), await held_by(gateway)
        await all_ways(times(300, COUNT))
        # A connection that its client has closed is let go a moment later.
        deadline, after = CLOCK.monotonic() + 5, await held_by(gateway)
        while any(after[name] > before[name] for name in ("tasks", "descriptors", "threads")):
            assert CLOCK.monotonic() < deadline, (before, after)
            after = await held_by(gateway)
        record_property("before", before)
        record_property("after", after)
        # The counting leaves a task in the log. One object of each request would be hundreds.
        by_counting = before["objects"] - first["objects"]
        assert after["objects"] - before["objects"] - by_counting < 200, (first, before, after)
        assert after["rss"] - before["rss"] < 16 * 2**20, (before, after)


async def held_by(gateway: GatewayProcess) -> dict[str, int]:
    """What the process of a gateway holds, as it says and as the system says."""
    process = psutil.Process(gateway.process.pid)
    task_id = (await gateway.task("count", input={}))["task_id"]
    async with browser(gateway.url, topics=[f"task:{task_id}"], since="start") as page:
        found: dict[str, int] = (await page.finished(task_id))["result"]
    found["descriptors"], found["threads"] = process.num_fds(), process.num_threads()
    found["rss"] = process.memory_info().rss
    return found


async def register(gateway: GatewayProcess) -> Any:
    answer = await gateway.http.post("/api/agents", json={"handle": "writer", "domain": "zone"})
    assert answer.status_code == 201, answer.text
    return answer.json()


@pytest.mark.requirement("WEFT-06")
async def test_the_statistics_are_what_the_operations_have_said() -> None:
    """Over HTTP, with every answer counted on the way, and the connections that there are."""
    async with gateway_process(target=None) as gateway, browser(gateway.url, "ann"):
        worker = await register(gateway)
        proof = {name: worker[name] for name in ("agent_id", "agent_secret")}
        said: Counter[tuple[str, str]] = Counter()
        for number in range(30):
            user = ("ann", "bob")[number % 2]
            await gateway.task("writer", user_id=user, max_attempts=1)
            said["open", user] += 1
        for number in range(20):
            claim = (await gateway.http.post("/api/tasks/claim", json=proof)).json()
            about = {**proof, "term": claim["term"]}
            way, more = (
                ("complete", {"result": number}),
                ("fail", {"message": "no", "error_type": "invalid_input"}),
            )[number % 2]
            path = f"/api/tasks/{claim['task_id']}/{way}"
            ended = await gateway.http.post(path, json={**about, **more})
            assert ended.status_code == 200, ended.text
            said["open", claim["user_id"]] -= 1
            said["finished", claim["user_id"]] += 1
            said["failed", claim["user_id"]] += way == "fail"
        stats = await gateway.get("/api/stats")
        assert stats["by_user"] == {
            user: {name: said[name, user] for name in ("open", "finished", "failed")}
            for user in ("ann", "bob")
        }
        assert stats["tasks"]["by_agent"] == {"writer": 30}
        assert stats["tasks"]["by_status"]["succeeded"] == 10
        assert stats["by_domain"] == {
            "zone": {
                **{"agents": 1, "open": 0, "finished": 20, "failed": 10},
                # An invalid input says nothing of the zone.
                **{"outcomes": 10, "failure_rate": 0, "state": "closed"},
            }
        }
        assert (stats["agents"]["total"], stats["queue"]["depth"]) == (1, 10)
        assert (stats["users"], stats["connections"]) == (2, 1)
        lost = {u: (await gateway.get(f"/api/users/{u}/impact")) for u in ("ann", "bob", "cy")}
        for user, impact in lost.items():
            assert impact["failures"] == impact["results_lost"] == said["failed", user]
