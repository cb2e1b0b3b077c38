"""Attempts as spans of OpenTelemetry, below the caller's own, which all events of a task name."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.app.clock import SystemClock
from tests.scenarios.harness import (
    Browser,
    GatewayProcess,
    browser,
    gateway_process,
    worker_process,
)

CLOCK = SystemClock()
TARGET = "tests.scenarios.traced_agents:gateway"
TRACE, ABOVE = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{ABOVE}-01"

Span = dict[str, Any]


def spans(path: Path) -> list[Span]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


async def spans_of(path: Path, count: int) -> list[Span]:
    """Wait for so many spans."""
    async with asyncio.timeout(20):
        while len(found := spans(path)) < count:
            await CLOCK.sleep(0.05)
    assert len(found) == count
    return found


@contextlib.asynccontextmanager
async def traced(path: Path, *, worker: bool) -> AsyncIterator[tuple[GatewayProcess, Browser]]:
    """A gateway whose agents run in its own process, or in a worker's."""
    env = {"SPANS": str(path)}
    async with contextlib.AsyncExitStack() as stack:
        target = None if worker else TARGET
        gateway = await stack.enter_async_context(
            gateway_process(target=target, env=env, retry_base=0.05)
        )
        page = await stack.enter_async_context(browser(gateway.url))
        if worker:
            await stack.enter_async_context(worker_process(gateway.url, target=TARGET, env=env))
        yield gateway, page


@pytest.mark.parametrize("worker", [False, True], ids=["gateway", "worker"])
async def test_each_attempt_is_a_span_below_its_callers_and_says_how_it_failed(
    tmp_path: Path, worker: bool
) -> None:
    path = tmp_path / "spans"
    async with traced(path, worker=worker) as (gateway, page):
        answer = await gateway.http.post(
            "/api/tasks",
            json={"agent": "traced", "input": {"question": "why?"}},
            headers={"traceparent": TRACEPARENT},
        )
        task_id = answer.json()["task_id"]
        await page.finished(task_id)
        events = [event for event in page.events if event.get("task_id") == task_id]
        assert {event["traceparent"] for event in events} == {TRACEPARENT}
        found = await spans_of(path, 4)
    attempts = [span for span in found if span["name"] == "invoke_agent traced"]
    calls = [span for span in found if span["name"] == "call the model"]
    assert {span["context"]["trace_id"] for span in found} == {f"0x{TRACE}"}
    assert {span["parent_id"] for span in attempts} == {f"0x{ABOVE}"}
    assert [call["parent_id"] for call in calls] == [
        attempt["context"]["span_id"] for attempt in attempts
    ]
    first, second = (span["attributes"] for span in attempts)
    assert (first["error.type"], first["gateway.attempt"]) == ("rate_limit", 1)
    assert ("error.type" in second, second["gateway.attempt"]) == (False, 2)
    assert {span["gateway.task_id"] for span in (first, second)} == {task_id}
    assert [span["status"]["status_code"] for span in attempts] == ["ERROR", "UNSET"]


async def test_without_a_caller_an_attempt_begins_a_trace_and_a_wrong_header_is_none(
    tmp_path: Path,
) -> None:
    """Two attempts share no trace because one request made both of them begin."""
    path = tmp_path / "spans"
    async with traced(path, worker=False) as (gateway, page):
        for header in ("", "00-nonsense", f"00-{'0' * 32}-{ABOVE}-01", TRACEPARENT.upper()):
            answer = await gateway.http.post(
                "/api/tasks",
                json={"agent": "plain", "input": {"question": "why?"}},
                headers={"traceparent": header},
            )
            assert answer.status_code == 201, answer.text
            await page.finished(answer.json()["task_id"])
        refused = await page.call("task.create", agent="plain", traceparent="nonsense")
        assert refused["error"]["data"]["field"] == "traceparent"
        found = await spans_of(path, 8)
    attempts = [span for span in found if span["name"] == "invoke_agent plain"]
    assert [span["parent_id"] for span in attempts] == [None] * 4
    assert len({span["context"]["trace_id"] for span in found}) == 4
    assert not [event for event in page.events if event.get("traceparent")]
