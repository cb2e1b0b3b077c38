"""A worker that lies: it falls, is quarantined, and works again when it has changed its ways."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from gateway.app.clock import SystemClock
from gateway.domain.health import HALF_LIFE_S
from gateway.domain.timestamps import seconds_of
from tests.scenarios.harness import GatewayProcess, browser, gateway_process
from tests.scenarios.test_leases import WorkerProcess, agent, worker_process

CLOCK = SystemClock()
Event = dict[str, Any]

# The scores after one, two, three and four tasks that stood still.
FALL = [0.6, 0.4, 0.3, 0.25]
# A worker is warned of below this, after the third, and released at it. Half-lives are not
# settings; from 0.25 to here it is a few seconds.
RELEASE = 0.32
RELEASED_IN_S = HALF_LIFE_S * math.log2((1 - FALL[-1]) / (1 - RELEASE))
LIMIT_S = 1.0
TASKS, EVERY_S = 6, 0.15


async def falls(gateway: GatewayProcess, liar: WorkerProcess) -> list[float]:
    """Look at a worker over HTTP until it is quarantined; gives its scores, each once."""
    scores: list[float] = []
    async with asyncio.timeout(20):
        while (shown := await agent(gateway, liar.agent_id))["status"] != "quarantined":
            if [shown["health_score"]] != scores[-1:]:
                scores.append(shown["health_score"])
            await CLOCK.sleep(0.02)
    return scores


def started_by(page_events: list[Event], worker: WorkerProcess, *, after: int) -> list[Event]:
    """The attempts that a worker was given after an offset."""
    return [
        event
        for event in page_events
        if event["type"] == "task_started"
        and event["agent_id"] == worker.agent_id
        and event["offset"] > after
    ]


@pytest.mark.requirement("FLUX-03", "FLUX-04", "WS-W14")
async def test_a_worker_that_lies_is_warned_of_quarantined_and_let_back_when_it_works() -> None:
    async with (
        gateway_process(
            target=None, quarantine_release=RELEASE, retry_base=0.05, heartbeat_timeout=2
        ) as gateway,
        browser(gateway.url) as page,
        worker_process(gateway.url, "liar", limit=LIMIT_S) as liar,
    ):
        assert (await agent(gateway, liar.agent_id))["health_score"] == 1.0
        falling = asyncio.create_task(falls(gateway, liar))
        tasks = []
        for _ in range(TASKS):
            tasks.append((await gateway.task("liar", "pile"))["task_id"])
            await liar.said("claimed")
            await CLOCK.sleep(EVERY_S)
        scores = await falling
        # It falls with each task that it misses, and never rises.
        assert scores[0] == 1.0
        assert scores == sorted(scores, reverse=True)
        assert len(scores) >= 3
        assert {*scores} <= {1.0, *FALL}

        # It was warned of before, and both say why.
        told = await page.event("agent_status_changed", status="quarantined")
        (warned,) = page.all("agent_status_changed", status="suspect")
        assert warned["offset"] < told["offset"]
        for event in (warned, told):
            assert (event["agent_id"], event["reason"]) == (liar.agent_id, "health")
            assert (event["error_type"], event["error_code"]) == ("agent_lost", "stalled")
            assert event["is_recoverable"]
        assert [warned["health_score"], told["health_score"]] == FALL[2:]

        # What it holds goes back without a failure, and another worker finishes all.
        async with asyncio.timeout(5):
            while (await agent(gateway, liar.agent_id))["tasks"]:
                await CLOCK.sleep(0.02)
        async with worker_process(gateway.url, "liar", limit=30) as honest:
            honest.go()
            for task_id in tasks:
                ended = await page.finished(task_id)
                assert (ended["outcome"], ended["result"]) == ("succeeded", honest.agent_id)
        back = {event["task_id"] for event in page.all("lease_changed", action="released")}
        assert len(back) >= 2
        moved = page.all("task_reassigned", reason="quarantined")
        assert {event["task_id"] for event in moved} == back
        assert {event["new_agent_id"] for event in moved} == {honest.agent_id}
        assert page.all("agent_status_changed", status="offline", agent_id=liar.agent_id) == []

        # It changes its ways. A task waits, and is its own as soon as time has released it.
        liar.go()
        assert (await liar.said("completed"))["refused"] == "stale_term"
        last = (await gateway.task("liar", "pile"))["task_id"]
        assert (await gateway.http.get(f"/api/tasks/{last}")).json()["status"] == "pending"
        well = await page.event("agent_status_changed", status="healthy", agent_id=liar.agent_id)
        took_s = seconds_of(well["timestamp"]) - seconds_of(told["timestamp"])
        assert RELEASED_IN_S - 0.1 < took_s < RELEASED_IN_S + 2
        ended = await page.finished(last)
        assert (ended["outcome"], ended["result"]) == ("succeeded", liar.agent_id)
        (first, *_) = started_by(page.events, liar, after=told["offset"])
        assert (first["task_id"], first["offset"] > well["offset"]) == (last, True)
        assert (await agent(gateway, liar.agent_id))["health_score"] > RELEASE + 0.2
        (recovered,) = page.all("system_recovered", scope="agent")
        assert recovered["error_id"] == told["error_id"] == warned["error_id"]
        await liar.leave()
