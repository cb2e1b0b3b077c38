"""One failure that makes others fail: each names it as its cause, down to one root."""

from __future__ import annotations

from typing import Any

import pytest

from tests.scenarios.harness import Browser, Event, GatewayProcess, browser, gateway_process
from tests.upstream import Upstream

OWNER, OTHER = "42", "7"
SETTINGS: dict[str, Any] = {
    "target": "tests.scenarios.following_agents:gateway",
    "env": {"AGENT_ATTEMPTS": "2", "AGENT_LIMIT_S": "1"},
    "retry_base": 0.05,
    "breaker_threshold": 1000,
    "breaker_rate": 1,
}


async def following(gateway: GatewayProcess, above: str, cause: str, user: str = OWNER) -> str:
    """Let a task of ``user`` wait for another one, and name a cause; gives its id."""
    body = {
        "agent": "follower",
        "input": {"url": f"{gateway.url}/api/tasks/{above}"},
        "user_id": user,
        "causation_id": cause,
    }
    answer = await gateway.http.post("/api/tasks", json=body)
    assert answer.status_code == 201, answer.text
    task_id: str = answer.json()["task_id"]
    return task_id


async def failure(gateway: GatewayProcess, page: Browser, task_id: str) -> tuple[Event, Event]:
    """The one error of a task that has ended with it, and what ``task.get`` tells of it."""
    end = await page.finished(task_id)
    (error,) = page.all("agent_error", task_id=task_id)
    shown: Event = (await gateway.get(f"/api/tasks/{task_id}"))["error"]
    assert (end["outcome"], end["error_id"]) == ("failed", error["error_id"])
    assert shown["error_id"] == error["error_id"]
    return error, shown


@pytest.mark.requirement("WS-W10")
async def test_tasks_that_fail_one_after_the_other_go_back_to_one_root() -> None:
    async with (
        Upstream() as upstream,
        gateway_process(upstream=upstream.url, **SETTINGS) as gateway,
        browser(gateway.url, OWNER) as page,
        browser(gateway.url, OTHER) as stranger,
    ):
        upstream.schedule("timeout", "500")
        first = (await gateway.task("asker", user_id=OWNER))["task_id"]
        # All wait for it, one by one; none has failed yet.
        second = await following(gateway, first, first)
        third = await following(gateway, second, second)
        submitted = await page.event("task_submitted", task_id=first)
        beside = await following(gateway, first, submitted["event_id"])
        assert (await page.finished(first))["outcome"] == "dead_lettered"

        root, again = page.all("agent_error", task_id=first)
        assert "causation_id" not in {**root, **again}
        ids = {root["error_id"]}
        for task in (second, third, beside):
            error, shown = await failure(gateway, page, task)
            assert error["causation_id"] == shown["causation_id"] == root["event_id"]
            ids.add(error["error_id"])
            consequence = error["event_id"]
        assert len(ids) == 4
        # A cause is named by any of its events, and by what followed from it.
        for cause in (again["event_id"], consequence):
            late, _ = await failure(gateway, page, await following(gateway, third, cause))
            assert late["causation_id"] == root["event_id"]
        # A retry that fails as well goes back to the same.
        retried = (await gateway.http.post(f"/api/tasks/{second}/retry", json={})).json()
        error, _ = await failure(gateway, page, retried["task_id"])
        assert error["causation_id"] == root["event_id"]

        # What is another user's, or nobody's, is kept as it was said, and tells nothing.
        for cause in (first, root["event_id"], "no-such-event"):
            task = await following(gateway, first, cause, OTHER)
            error, shown = await failure(gateway, stranger, task)
            assert error["causation_id"] == cause
            assert "causation_id" not in shown
        page.check(complete=True)


@pytest.mark.requirement("WS-W10")
async def test_what_has_recovered_is_the_cause_of_nothing() -> None:
    async with (
        Upstream() as upstream,
        gateway_process(upstream=upstream.url, **SETTINGS) as gateway,
        browser(gateway.url, OWNER) as page,
    ):
        upstream.schedule("500", "fine")
        first = (await gateway.task("asker", user_id=OWNER))["task_id"]
        after = await following(gateway, first, first)
        assert (await page.finished(first))["outcome"] == "succeeded"
        assert (await page.finished(after))["result"] == "after hello world"
        # It fails by itself: there is no such task as it waits for.
        error, shown = await failure(gateway, page, await following(gateway, "none", first))
        assert error["causation_id"] == first
        assert "causation_id" not in shown
