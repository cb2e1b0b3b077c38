"""An upstream that says when, over processes and nodes; and tasks that say why they wait."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from gateway.domain.timestamps import seconds_of
from tests.scenarios.durable import is_ready, two_nodes, until
from tests.scenarios.harness import Browser, Event, browser, gateway_process, worker_process
from tests.upstream import Upstream

pytestmark = pytest.mark.asyncio(loop_scope="module")

AGENTS = "tests.scenarios.agents:gateway"
HOLD_S = 2
# The upstream's own time is another process's, and events are told in milliseconds.
MARGIN_S = 0.05


async def held_and_back(page: Browser, upstream: Upstream, tasks: list[str]) -> list[Event]:
    """Wait for all ends; no call came before its time, then not all in one instant."""
    for task_id in tasks:
        assert (await page.finished(task_id, within_s=20))["outcome"] == "succeeded"
    first, *later = upstream.times
    assert len(later) == len(tasks)
    assert min(later) >= first + HOLD_S - MARGIN_S
    # One call, a second begins a second later at the earliest, on each of two nodes.
    assert sum(at < later[0] + 0.5 for at in later) <= 2
    assert sum(at < later[0] + 1.5 for at in later) <= 4
    assert max(later) - min(later) >= 1
    waits = page.all("task_waiting", waits_for="upstream")
    (error,) = page.all("agent_error")
    for event in waits:
        assert event["name"] == "model"
        assert abs(seconds_of(event["until"]) - seconds_of(error["timestamp"]) - HOLD_S) < MARGIN_S
    # Each of the others was told once, and begins no earlier than it was told.
    assert sorted(event["task_id"] for event in waits) == sorted(set(tasks) - {error["task_id"]})
    begun = {event["task_id"]: event["timestamp"] for event in page.all("task_started", attempt=1)}
    assert all(begun[event["task_id"]] >= event["until"] for event in waits)
    return waits


@pytest.mark.requirement("WEFT-W20")
async def test_a_retry_after_holds_the_upstream_of_all_workers_then_they_begin_in_a_ramp() -> None:
    async with (
        Upstream() as upstream,
        gateway_process(target=None, retry_base=0.05) as gateway,
        worker_process(gateway.url, upstream=upstream.url),
        worker_process(gateway.url, upstream=upstream.url),
        browser(gateway.url, "42") as page,
    ):
        upstream.schedule(f"429_ra{HOLD_S}", "fine")
        first = await gateway.task("asker", user_id="42")
        await page.event("agent_error", task_id=first["task_id"])
        tasks = [
            (await gateway.task(agent, user_id="42"))["task_id"]
            for agent in ("once", "other", "asker", "once")
        ]
        await page.event("task_waiting", task_id=tasks[-1])
        shown = await gateway.get(f"/api/tasks/{tasks[0]}")
        assert shown["waiting_for"]["waits_for"] == "upstream"
        assert shown["waiting_for"]["name"] == "model"
        await held_and_back(page, upstream, [first["task_id"], *tasks])
        assert (await gateway.get(f"/api/tasks/{tasks[0]}"))["waiting_for"] is None


@pytest.mark.requirement("WEFT-W20")
@pytest.mark.own_store
async def test_what_one_node_was_told_holds_the_others_and_one_that_begins(
    store: dict[str, Any],
) -> None:
    """The hold is in the log: a node that begins in the middle of it has it, too."""
    async with (
        Upstream() as upstream,
        two_nodes(store, target=AGENTS, upstream=upstream.url) as (one, two),
        browser(two.url, "42") as page,
    ):
        upstream.schedule(f"429_ra{HOLD_S}", "fine")
        first = await one.task("asker", user_id="42")
        await page.event("agent_error", task_id=first["task_id"])
        tasks = [
            (await node.task(agent, user_id="42"))["task_id"]
            for node in (one, two)
            for agent in ("once", "other")
        ]
        async with gateway_process(upstream=upstream.url, **store) as third:
            await until(lambda: is_ready(third))
            await held_and_back(page, upstream, [first["task_id"], *tasks])


async def test_a_task_that_nobody_serves_is_told_at_once_and_a_worker_ends_the_wait() -> None:
    async with (
        Upstream() as upstream,
        gateway_process(target=None, queue_timeout=30) as gateway,
        browser(gateway.url, "42") as page,
        contextlib.AsyncExitStack() as stack,
    ):
        made = await gateway.task("asker", user_id="42")
        assert (made["warning"], made["similar"]) == ("no_worker", [])
        waiting = await page.event("task_waiting", within_s=2)
        assert (waiting["waits_for"], waiting["name"]) == ("worker", "asker")
        submitted = page.all("task_submitted")[0]
        seconds = seconds_of(waiting["until"]) - seconds_of(submitted["timestamp"])
        assert abs(seconds - 30) < MARGIN_S
        await stack.enter_async_context(worker_process(gateway.url, upstream=upstream.url))
        assert (await page.finished(made["task_id"]))["outcome"] == "succeeded"
        assert len(page.all("task_waiting")) == 1
        again = await gateway.task("aksers", user_id="42")
        assert (again["warning"], again["similar"]) == ("no_worker", ["asker"])
        event = await page.event("task_waiting", task_id=again["task_id"])
        assert event["similar"] == ["asker"]


async def test_a_breaker_that_opens_tells_those_that_it_holds_until_when() -> None:
    async with (
        Upstream() as upstream,
        gateway_process(upstream=upstream.url, retry_base=8, breaker_threshold=2) as gateway,
        browser(gateway.url, "42") as page,
    ):
        upstream.schedule("500")
        held = (await gateway.task("asker", user_id="42"))["task_id"]
        announced = await page.event("recovery_attempt", task_id=held)
        second = (await gateway.task("asker", user_id="42"))["task_id"]
        opened = await page.event("circuit_breaker_triggered")
        event = await page.event("task_waiting")
        assert (event["task_id"], event["waits_for"], event["name"]) == (held, "breaker", "asker")
        assert announced["next_attempt_at"] < event["until"] == opened["probe_at"]
        # The one whose failure has opened it was announced for that time from the beginning.
        later = await page.event("recovery_attempt", task_id=second)
        assert seconds_of(later["next_attempt_at"]) >= seconds_of(opened["probe_at"]) - MARGIN_S
        for task_id in (held, second):
            await gateway.http.post(f"/api/tasks/{task_id}/cancel")
        assert len(page.all("task_waiting")) == 1


async def test_rate_limits_lower_how_many_calls_run_at_once_and_successes_raise_it() -> None:
    """Asked for by `--adaptive-concurrency`; the upstream never says when it wants to be asked."""
    async with (
        Upstream() as upstream,
        gateway_process(
            upstream=upstream.url, adaptive_concurrency=4, retry_base=0.05, retry_max=0.1
        ) as gateway,
        browser(gateway.url, "42") as page,
    ):

        async def model() -> Any:
            return (await gateway.get("/api/stats"))["upstreams"].get("model")

        # The fourth is refused, when three others are on their way.
        upstream.schedule("hold", "hold", "hold", "429_none", "hold")
        tasks = [(await gateway.task("asker", user_id="42"))["task_id"] for _ in range(6)]
        lowered = await page.event("agent_error", error_type="rate_limit")
        assert await model() == {"running": 3, "limit": 2}
        upstream.release()
        for task_id in tasks:
            assert (await page.finished(task_id, within_s=20))["outcome"] == "succeeded"
        begun = [event["offset"] for event in page.all("task_started")]
        ended = [event["offset"] for event in page.all("task_finished")]
        running = {
            at: sum(other <= at for other in begun)
            - sum(other < at for other in [*ended, lowered["offset"]])
            for at in begun
        }
        assert [running[at] for at in begun if at < lowered["offset"]] == [1, 2, 3, 4]
        # Those that ran have made room before another one began.
        first_after = min(at for at in begun if at > lowered["offset"])
        assert running[first_after] <= 2
        # Six successes have raised it to the most.
        assert await model() is None
