"""What a killed gateway knew of tasks, and the next one knows: trails, keys, claims with locks."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import pytest

from gateway.app.clock import SystemClock
from tests.scenarios.harness import Event, GatewayProcess, gateway_process

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.own_store]

CLOCK = SystemClock()


async def trail(gateway: GatewayProcess, task_id: str) -> list[Event]:
    """The events of a task, page by page."""
    found: list[Event] = []
    query = f"/api/events?topic=task:{task_id}&limit=3"
    page = await gateway.get(query)
    while True:
        found += page["items"]
        if page["next"] is None:
            return found
        page = await gateway.get(f"{query}&cursor={page['next']}")


async def worker(gateway: GatewayProcess, handle: str) -> Event:
    answer = (await gateway.http.post("/api/agents", json={"handle": handle})).json()
    return {name: answer[name] for name in ("agent_id", "agent_secret")}


@pytest.mark.requirement("FLUX-18")
async def test_the_trail_of_a_task_is_in_order_and_outlives_the_gateway(
    store: dict[str, Any],
) -> None:
    async with gateway_process(target=None, **store) as first:
        proof = await worker(first, "trail")
        task = await first.task("trail", user_id="ann", max_attempts=3)
        task_id, path = task["task_id"], f"/api/tasks/{task['task_id']}"
        claim = (await first.http.post("/api/tasks/claim", json=proof)).json()
        lease = {**proof, "term": claim["term"]}
        await first.http.post(f"{path}/update", json={**lease, "step": "one", "data": 1})
        failed = {**lease, "message": "no", "error_type": "network_error"}
        assert (await first.http.post(f"{path}/fail", json=failed)).status_code == 200
        asked = {**proof, "wait": 5}
        claim = (await first.http.post("/api/tasks/claim", json=asked)).json()
        before = await trail(first, task_id)
        shown = await first.get(path)
        await first.stop(signal.SIGKILL)
    async with gateway_process(target=None, **store) as again:
        assert await trail(again, task_id) == before
        assert await again.get(path) == shown
        lease = {**proof, "term": claim["term"]}
        done = await again.http.post(f"{path}/complete", json={**lease, "result": "done"})
        assert done.status_code == 200, done.text
        events = await trail(again, task_id)
        public = [event["type"] for event in events if event["type"] != "lease_changed"]
        assert public == [
            "task_submitted",
            "task_started",
            "partial_result",
            "partial_result_preserved",
            "agent_error",
            "recovery_attempt",
            "task_started",
            "system_recovered",
            "task_finished",
        ]
        assert [e["attempt"] for e in events if e["type"] == "task_started"] == [1, 2]
        offsets = [event["offset"] for event in events]
        assert offsets == sorted(set(offsets))
        times = [event["timestamp"] for event in events]
        assert times == sorted(times)
        shown = await again.get(path)
        assert [attempt["attempt"] for attempt in shown["attempts"]] == [1, 2]
        assert all(attempt["ended_at"] for attempt in shown["attempts"])
        assert (shown["status"], shown["input"]) == ("succeeded", {"question": "hello"})


@pytest.mark.requirement("FLUX-W12")
async def test_the_queue_of_a_killed_gateway_goes_on_with_priorities_and_times_on_any_node(
    store: dict[str, Any],
) -> None:
    """Each task stands in it once, whoever claims: a queue of a process's own would be empty."""
    async with gateway_process(target=None, **store) as first:
        asked = [
            (await first.task("queue", str(number), user_id="ann", priority=priority))["task_id"]
            for number, priority in enumerate((10, 4, 1, 7, 4, 10, 1, 7))
        ]
        before = (await first.get("/api/tasks?status=pending"))["items"]
        await first.stop(signal.SIGKILL)
    async with (
        gateway_process(target=None, **store) as here,
        gateway_process(target=None, **store) as there,
    ):
        for node in (here, there):
            assert (await node.get("/api/tasks?status=pending"))["items"] == before
        proof = await worker(here, "queue")
        claims = []
        for node in (here, there, here, there, here, there, here, there):
            answer = await node.http.post("/api/tasks/claim", json={**proof, "wait": 5})
            assert answer.status_code == 200, answer.text
            claims.append(answer.json())
        urgent_first = [asked[number] for number in (2, 6, 1, 4, 3, 7, 0, 5)]
        assert [claim["task_id"] for claim in claims] == urgent_first
        assert (await there.http.post("/api/tasks/claim", json=proof)).status_code == 204
        shown = await there.get(f"/api/tasks/{urgent_first[0]}")
        assert shown["created_at"] == before[-3]["created_at"]


@pytest.mark.requirement("FLUX-13", "WEFT-15")
async def test_a_key_stands_for_its_task_after_the_gateway_was_killed(
    store: dict[str, Any],
) -> None:
    asked = {"agent": "keys", "input": 1, "user_id": "ann"}
    key = {"Idempotency-Key": "k"}
    async with gateway_process(target=None, **store) as first:
        task = (await first.http.post("/api/tasks", json=asked, headers=key)).json()
        await first.stop(signal.SIGKILL)
    async with (
        gateway_process(target=None, **store) as again,
        gateway_process(target=None, **store) as other,
    ):
        answers = await asyncio.gather(
            *(
                node.http.post("/api/tasks", json=asked, headers=key)
                for node in (again, other)
                for _ in range(10)
            )
        )
        assert {answer.status_code for answer in answers} == {201}
        assert {answer.json()["task_id"] for answer in answers} == {task["task_id"]}
        refused = await other.http.post("/api/tasks", json={**asked, "input": 2}, headers=key)
        assert (refused.status_code, refused.json()["code"]) == (409, "idempotency_key_reused")


@pytest.mark.requirement("MESH-06", "MESH-W13")
async def test_a_claim_and_its_lock_outlive_the_gateway_and_end_together_on_any_node(
    store: dict[str, Any],
) -> None:
    about = {"resource_key": "kept:file"}
    async with gateway_process(target=None, **store) as first:
        proof, other = await worker(first, "locks"), await worker(first, "locks")
        task_id = (await first.task("locks", user_id="ann"))["task_id"]
        await first.task("locks", user_id="ann")
        claim = (await first.http.post("/api/tasks/claim", json={**proof, **about})).json()
        await first.stop(signal.SIGKILL)
    async with (
        gateway_process(target=None, **store) as here,
        gateway_process(target=None, **store) as there,
    ):
        for node in (here, there):
            refused = await node.http.post("/api/tasks/claim", json={**other, **about})
            assert (refused.status_code, refused.json()["code"]) == (409, "lock_held")
            assert refused.json()["holder"] == proof["agent_id"]
        lease = {**proof, "term": claim["term"], "result": 1}
        done = await here.http.post(f"/api/tasks/{task_id}/complete", json=lease)
        assert done.status_code == 200, done.text
        taken = await there.http.post("/api/tasks/claim", json={**other, **about, "wait": 5})
        assert taken.status_code == 200, taken.text
        assert taken.json()["lock"]["term"] == claim["lock"]["term"] + 1
