"""Alerts of two gateways on one durable log: each is sent by one of them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.app.test_alarm import SECRET, Receiver
from tests.scenarios.durable import two_nodes, until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.own_store]

TASKS = 10


async def test_of_two_nodes_exactly_one_sends_each_alert(store: dict[str, Any]) -> None:
    """Both have a timer for each task that nobody takes, and race for its end."""
    async with Receiver().listening() as there:
        alerts: dict[str, Any] = {
            "alert_url": there.url,
            "alert_secret": SECRET,
            "queue_timeout": 0.5,
        }
        async with two_nodes(store, **alerts) as nodes:
            for number in range(TASKS):
                await nodes[number % 2].task("nobody", user_id=f"user-{number}")

            async def are_sent() -> bool:
                return len(set(there.ids)) == TASKS

            async def are_known() -> bool:
                stats = [await node.get("/api/stats") for node in nodes]
                return all(each["dead_letters"]["total"] == TASKS for each in stats)

            await until(are_sent)
            await until(are_known)
            for node in nodes:
                await node.stop()  # what it still had to send is sent
    assert set(Counter(there.ids).values()) == {1}
    assert {headers["Gateway-Event"] for headers, _ in there.asked} == {"task_dead_lettered"}
