"""What a gateway does at once and what it keeps has its bounds, whoever asks for more."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from gateway.domain.task import TASK_BYTES
from tests.scenarios.harness import Event, GatewayProcess, browser, gateway_process
from tests.upstream import Upstream

pytestmark = pytest.mark.asyncio(loop_scope="module")

AT_ONCE = 2
KEPT_BYTES = 50 * TASK_BYTES


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(upstream: Upstream) -> AsyncIterator[GatewayProcess]:
    async with gateway_process(
        upstream=upstream.url, workers=AT_ONCE, finished_bytes=KEPT_BYTES, rate_http=0
    ) as running:
        yield running


@pytest.mark.requirement("WEFT-W20")
async def test_no_more_tasks_run_at_once_than_may(
    gateway: GatewayProcess, upstream: Upstream
) -> None:
    async with browser(gateway.url, "ann") as page:
        upstream.reset()
        upstream.schedule("hold")
        asked = [(await gateway.task("asker", user_id="ann"))["task_id"] for _ in range(6)]
        await upstream.wait_for_calls(AT_ONCE)
        for task_id in asked:
            await page.event("task_submitted", task_id=task_id)
        by_status = (await gateway.get("/api/stats"))["tasks"]["by_status"]
        assert (by_status["running"], by_status["pending"]) == (AT_ONCE, 6 - AT_ONCE)
        assert upstream.count == AT_ONCE
        upstream.release()
        for task_id in asked:
            assert (await page.finished(task_id))["outcome"] == "succeeded"
        steps = [{"task_started": 1, "task_finished": -1}.get(e["type"], 0) for e in page.events]
        assert max(itertools.accumulate(steps)) == AT_ONCE
        # Each beginning and each end is told once.
        for type in ("task_submitted", "task_started", "task_finished"):
            assert sorted(event["task_id"] for event in page.all(type)) == sorted(asked)


@pytest.mark.requirement("WEFT-W15")
async def test_cancelled_tasks_are_let_go_of_within_a_bound(gateway: GatewayProcess) -> None:
    async def cancelled(number: int) -> str:
        task_id: str = (await gateway.task("nobody", str(number), user_id="bea"))["task_id"]
        answer = await gateway.http.post(f"/api/tasks/{task_id}/cancel", json={})
        assert answer.status_code == 200, answer.text
        return task_id

    asked = [await cancelled(number) for number in range(100)]
    kept = (await gateway.get("/api/tasks?user_id=bea&limit=500"))["items"]
    assert 10 <= len(kept) <= KEPT_BYTES // TASK_BYTES
    assert [task["task_id"] for task in kept] == asked[: -len(kept) - 1 : -1]
    gone = await gateway.http.get(f"/api/tasks/{asked[0]}")
    assert (gone.status_code, gone.json()["code"]) == (404, "not_found")
    everyones = (await gateway.get("/api/tasks?status=cancelled&limit=500"))["items"]
    by_status = (await gateway.get("/api/stats"))["tasks"]["by_status"]
    assert by_status["cancelled"] == len(everyones) <= KEPT_BYTES // TASK_BYTES


@pytest.mark.requirement("WEFT-W15")
async def test_a_strangers_progress_is_refused_and_moves_nothing(gateway: GatewayProcess) -> None:
    async def registered() -> Event:
        made = (await gateway.http.post("/api/agents", json={"handle": "mover"})).json()
        return {name: made[name] for name in ("agent_id", "agent_secret")}

    holder, stranger = await asyncio.gather(registered(), registered())
    async with browser(gateway.url, "cy") as page:
        task_id = (await gateway.task("mover", user_id="cy"))["task_id"]
        path = f"/api/tasks/{task_id}"
        claim = (await gateway.http.post(f"{path}/claim", json=holder)).json()
        said = {"term": claim["term"], "progress": 0.9, "step": "almost"}
        refused = await gateway.http.post(f"{path}/update", json={**stranger, **said})
        assert (refused.status_code, refused.json()["code"]) == (409, "stale_term")
        borrowed = {**holder, "agent_secret": stranger["agent_secret"]}
        refused = await gateway.http.post(f"{path}/update", json={**borrowed, **said})
        assert (refused.status_code, refused.json()["code"]) == (403, "not_permitted")
        shown = await gateway.get(path)
        assert (shown["progress"], shown["step"]) == (None, None)
        # Nor does the holder's own, once the task is cancelled.
        await gateway.http.post(f"{path}/cancel", json={})
        late = await gateway.http.post(f"{path}/update", json={**holder, **said})
        assert (late.status_code, late.json()["code"]) == (409, "stale_term")
        await page.finished(task_id)
        assert page.all("task_progress") == []
        assert (await gateway.get(path))["status"] == "cancelled"
