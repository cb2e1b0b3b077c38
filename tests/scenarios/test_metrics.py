"""Metrics are scraped before and after real failures, and each has moved by as much as happened."""

from __future__ import annotations

from typing import Any

import pytest

from tests.scenarios.durable import two_nodes, until
from tests.scenarios.harness import (
    Browser,
    GatewayProcess,
    browser,
    gateway_process,
    worker_process,
)
from tests.transports.metrics import Scrape
from tests.upstream import Upstream

pytestmark = pytest.mark.asyncio(loop_scope="module")

ATTEMPTS = {"AGENT_LIMIT_S": "30"}
QUEUE_LIMIT = 4
THRESHOLD = 3


async def scrape(gateway: GatewayProcess) -> Scrape:
    response = await gateway.http.get("/metrics")
    assert response.status_code == 200, response.text
    return Scrape(response.text)


async def refused(gateway: GatewayProcess, path: str, code: str, **body: Any) -> None:
    """Ask for something, and be refused with that code."""
    response = await gateway.http.post(path, json=body)
    assert response.json().get("code") == code, response.text


async def fail(gateway: GatewayProcess, page: Browser, upstream: Upstream) -> None:
    """Kill a worker in a task's second step, which another one takes over, and open a breaker."""
    flags: dict[str, Any] = {"upstream": upstream.url, "env": ATTEMPTS}
    async with worker_process(gateway.url, **flags) as first:
        upstream.schedule("fine", "hold")
        task = await gateway.task("stepper", user_id="42")
        await upstream.wait_for_calls(2)
        assert (await scrape(gateway))("tasks_open") == 1
        async with worker_process(gateway.url, **flags):
            upstream.schedule("fine")
            first.child.kill()
            assert (await page.finished(task["task_id"]))["outcome"] == "succeeded"
            await open_a_breaker(gateway, page, upstream)


async def open_a_breaker(gateway: GatewayProcess, page: Browser, upstream: Upstream) -> None:
    """Let an agent fail until its breaker opens, and be refused by it."""
    upstream.schedule("429_none")
    for _ in range(THRESHOLD):
        await page.finished((await gateway.task("once", user_id="42"))["task_id"])
    await page.event("circuit_breaker_triggered")
    order = {"agent": "once", "user_id": "42", "input": {"question": "x"}}
    for _ in range(2):
        await refused(gateway, "/api/tasks", "circuit_breaker_open", **order)


async def fill_the_queue(gateway: GatewayProcess, page: Browser) -> None:
    """Ask for more than may wait, see it waiting, and cancel what waits."""
    waiting = [(await gateway.task("nobody", user_id="42"))["task_id"] for _ in range(QUEUE_LIMIT)]
    await refused(gateway, "/api/tasks", "priority_load_shedding", agent="nobody", user_id="42")
    found = await scrape(gateway)
    assert found("queue_depth") == found("tasks_open") == QUEUE_LIMIT
    assert found("queue_oldest_age_seconds") > 0
    for task_id in waiting:
        assert (await gateway.http.post(f"/api/tasks/{task_id}/cancel")).status_code == 200
        await page.finished(task_id)


async def change_the_mode(gateway: GatewayProcess) -> None:
    """Take on less, and nothing, and everything again."""
    order = {"agent": "nobody", "user_id": "42", "priority": 9}
    for mode, code in (("degraded", "degraded_mode"), ("read_only", "read_only")):
        assert (await gateway.http.put("/api/mode", json={"mode": mode})).status_code == 200
        await refused(gateway, "/api/tasks", code, **order)
        assert {m for (m,), now in (await scrape(gateway)).all("mode").items() if now} == {mode}
    assert (await gateway.http.put("/api/mode", json={"mode": "normal"})).status_code == 200


async def report_too_late(gateway: GatewayProcess) -> None:
    """End a task, and then once more."""
    me = (await gateway.http.post("/api/agents", json={"handle": "late"})).json()
    proof = {"agent_id": me["agent_id"], "agent_secret": me["agent_secret"]}
    task = await gateway.task("late", user_id="42")
    path = f"/api/tasks/{task['task_id']}"
    claim = (await gateway.http.post(f"{path}/claim", json=proof)).json()
    report = {**proof, "term": claim["term"], "result": "done"}
    assert (await gateway.http.post(f"{path}/complete", json=report)).status_code == 200
    await refused(gateway, f"{path}/complete", "stale_term", **report)


@pytest.mark.requirement("FLUX-17", "WEFT-W21")
async def test_each_metric_moves_as_much_as_has_happened() -> None:
    async with (
        Upstream() as upstream,
        gateway_process(
            target=None,
            heartbeat_timeout=2,
            offline_after=6,
            retry_base=0.05,
            breaker_threshold=THRESHOLD,
            queue_limit=QUEUE_LIMIT,
            queue_share=1,
            # The mode changes when the test says so.
            degraded_queue=0,
            degraded_lag=0,
            degraded_cpu=0,
            degraded_memory=0,
        ) as gateway,
        browser(gateway.url, "42") as page,
    ):
        before = await scrape(gateway)
        await fail(gateway, page, upstream)
        await fill_the_queue(gateway, page)
        await change_the_mode(gateway)
        calm = await scrape(gateway)
        await report_too_late(gateway)
        position = {"epoch": page.events[0]["epoch"], "offset": page.events[0]["offset"]}
        for since in (position, {**position, "epoch": "another"}):
            async with browser(gateway.url, "43", since=since):
                pass
        after = await scrape(gateway)

        def moved(name: str, **labels: str) -> float:
            return after(name, **labels) - before.get(name, **labels)

        def ended(agent: str, outcome: str) -> float:
            return moved("tasks_finished_total", agent=agent, outcome=outcome)

        assert (ended("stepper", "succeeded"), ended("once", "dead_lettered")) == (1, THRESHOLD)
        assert (ended("late", "succeeded"), ended("other", "cancelled")) == (1, QUEUE_LIMIT)
        finished = page.all("task_finished")
        assert sum(after.all("tasks_finished_total").values()) == len(finished)
        assert (after("tasks_open"), after("tasks_without_end"), after("queue_depth")) == (0, 0, 0)
        assert after("breaker_state", breaker="once", state="open") == 1
        assert after("breaker_state", breaker="once", state="closed") == 0
        assert moved("rejections_total", reason="circuit_breaker_open") == 2
        assert moved("rejections_total", reason="priority_load_shedding") == 1
        assert moved("rejections_total", reason="degraded_mode") == 1
        assert moved("rejections_total", reason="read_only") == 1
        # The worker that was killed may have renewed what it had lost, before.
        assert after("stale_terms_total") - calm("stale_terms_total") == 1
        assert moved("resumes_total", verdict="recovered") == 1
        assert moved("resumes_total", verdict="refused") == 1
        assert after("agent_health_score", agent="late") == 1
        assert after("mode", mode="normal") == 1
        assert sum(after.all("mode").values()) == 1
        assert moved("log_offset") >= len(page.events)
        # This page was told of every failure, each as soon as it was noticed.
        assert moved("detect_to_notify_seconds_count") == len(page.all("agent_error"))
        assert after("detect_to_notify_seconds_bucket", le="2.5") == len(page.all("agent_error"))
        assert moved("delivery_seconds_count") >= len(page.events)
        assert after("delivery_seconds_sum") < 5 * len(page.events)


@pytest.mark.own_store
async def test_nodes_count_their_own_part_and_tell_one_state(store: dict[str, Any]) -> None:
    async with two_nodes(store) as (first, second):
        me = (await first.http.post("/api/agents", json={"handle": "late"})).json()
        proof = {"agent_id": me["agent_id"], "agent_secret": me["agent_secret"]}
        ends = (first, second, second)
        for node in ends:
            await first.task("late")
            claim = (await node.http.post("/api/tasks/claim", json={**proof, "wait": 5})).json()
            path = f"/api/tasks/{claim['task_id']}/complete"
            report = {**proof, "term": claim["term"], "result": "done"}
            assert (await node.http.post(path, json=report)).status_code == 200
        await first.task("nobody")

        async def agree() -> bool:
            one, other = await scrape(first), await scrape(second)
            return one("log_offset") == other("log_offset")

        await until(agree)
        found = [await scrape(node) for node in (first, second)]
        for name in ("tasks_open", "queue_depth"):
            assert [told(name) for told in found] == [1, 1]
        own = [told("tasks_finished_total", agent="late", outcome="succeeded") for told in found]
        assert own == [ends.count(first), ends.count(second)]
