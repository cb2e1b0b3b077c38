"""Ids: none is a time, a name or a constant, and no two are the same, wherever they are made."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from typing import Any

import pytest

from tests.scenarios.harness import GatewayProcess, browser, gateway_process

# Whatever has an id of its own when it begins, as its first event or its answer tells it.
BEGINNINGS = {
    "task_submitted": "task_id",
    "agent_registered": "agent_id",
    "lock_changed": "lock_id",
    "agent_error": "error_id",
    "graceful_degradation": "degradation_id",
}
EACH = 10


async def begin_much(gateway: GatewayProcess) -> None:
    """Begin tasks, workers, locks, failures and a degradation, all at once."""

    async def one(number: int) -> None:
        key = {"Idempotency-Key": f"k{number}"} if number % 2 else {}
        order = {"agent": f"a{number}", "input": 1}
        made = await gateway.http.post("/api/tasks", json=order, headers=key)
        worker = await gateway.http.post("/api/agents", json={"handle": "w"})
        lock = {"resource_key": f"r{number}", "holder": "h", "ttl": 60}
        held = await gateway.http.post("/api/locks", json=lock)
        report = {"type": "agent_error", "user_id": "ann", "error_type": "timeout"}
        failed = await gateway.http.post("/api/events", json={**report, "agent_name": "job"})
        assert {a.status_code for a in (made, worker, held, failed)} <= {200, 201}, failed.text

    await asyncio.gather(*(one(number) for number in range(EACH)))
    assert (await gateway.http.put("/api/mode", json={"mode": "read_only"})).status_code == 200


async def ids_of(gateway: GatewayProcess) -> dict[str, list[str]]:
    """All ids that were made, by what they are of."""
    async with browser(gateway.url) as page, browser(gateway.url) as other:
        await begin_much(gateway)
        await page.event("graceful_degradation")
        events: list[dict[str, Any]] = list(page.events)
        found = {
            type: [event[name] for event in events if event["type"] == type]
            for type, name in BEGINNINGS.items()
        }
        found["event"] = [event["event_id"] for event in events]
        found["session"] = [page.hello["session_id"], other.hello["session_id"]]
        found["epoch"] = [page.subscribed["epoch"]]
        return found


@pytest.mark.requirement("FLUX-W15")
async def test_every_id_is_a_uuid_that_no_other_gateway_makes() -> None:
    async with (
        gateway_process(target=None, rate_http=0) as first,
        gateway_process(target=None, rate_http=0) as second,
    ):
        here, there = await asyncio.gather(ids_of(first), ids_of(second))
    for found in (here, there):
        assert [len(found[type]) for type in list(BEGINNINGS)[:4]] == [EACH] * 4
        epochs = found.pop("epoch")
        for type, ids in found.items():
            # What an idempotency key stands for is computed from it (RFC 9562, version 8).
            versions = Counter(uuid.UUID(id).version for id in ids)
            assert set(versions) <= ({7, 8} if type == "task_submitted" else {7}), type
            assert len(set(ids)) == len(ids)
        found["epoch"] = epochs
    everything = [id for found in (here, there) for ids in found.values() for id in ids]
    # The same keys of the same user stand for the same ids, on purpose; nothing else is twice.
    twice = {id for id, count in Counter(everything).items() if count > 1}
    assert {uuid.UUID(id).version for id in twice} <= {8}
