"""Event loops that agents block, and processes that one task ends under the others."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from tests.scenarios.harness import (
    Event,
    GatewayProcess,
    WorkerProcess,
    browser,
    gateway_process,
    worker_process,
)
from tests.soak import times

# The store has no part in them.
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.own_store]

AGENTS = "tests.scenarios.blocking_agents:gateway"
# A beat is missed after two thirds of it, and half of that may be over when a loop blocks; the
# keeper says so after two seconds, and has one more on a machine that is busy.
HEARTBEAT_S = 10
# Longer than the gateway waits for a beat.
BLOCKED_S = times(12, 22)
OTHERS = times(7, 15)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway() -> AsyncIterator[GatewayProcess]:
    """A gateway that serves agents that are elsewhere."""
    async with gateway_process(
        target=None, heartbeat_timeout=HEARTBEAT_S, offline_after=60, retry_base=0.05
    ) as running:
        yield running


@contextlib.asynccontextmanager
async def working(
    gateway: GatewayProcess, folder: Path, *flags: str, notes: bool = False
) -> AsyncIterator[WorkerProcess]:
    env = {"NOTES": str(folder / "notes")}
    async with worker_process(gateway.url, *flags, target=AGENTS, env=env, notes=notes) as worker:
        yield worker


def lines(folder: Path, word: str, task: Event) -> list[str]:
    """What agents wrote of a task."""
    notes = folder / "notes"
    said = notes.read_text().splitlines() if notes.exists() else []
    return [line for line in said if line.startswith(f"{word} {task['task_id']} ")]


@pytest.mark.timeout(times(60, 120))
async def test_a_task_that_blocks_its_loop_is_begun_once_and_ends_once(
    gateway: GatewayProcess, tmp_path: Path
) -> None:
    """It was begun three times, all ran to their end, and none of them counted."""
    async with (
        browser(gateway.url) as page,
        working(gateway, tmp_path, "--concurrency", "1", notes=True) as first,
        working(gateway, tmp_path, "--concurrency", "1") as second,
    ):
        # Each takes one, so that it is known whose loop is blocked.
        tasks = [await gateway.task("blocks", str(BLOCKED_S), user_id="blocked") for _ in range(2)]
        changed = await page.event(
            "agent_status_changed", agent_id=first.agent_id, within_s=BLOCKED_S + 10
        )
        assert (changed["status"], changed["reason"]) == ("suspect", "loop_blocked")
        for task in tasks:
            finished = await page.finished(task["task_id"], within_s=BLOCKED_S + 10)
            assert (finished["outcome"], finished["result"]) == ("succeeded", "done")
            assert len(lines(tmp_path, "began", task)) == 1
            assert len(page.all("task_started", task_id=task["task_id"])) == 1
            assert page.all("agent_error", task_id=task["task_id"]) == []
        for worker in (first, second):
            await page.event("agent_status_changed", agent_id=worker.agent_id, status="healthy")
        assert "blocking_agents.py:" in await first.note("is blocked at")


async def test_a_blocked_task_over_its_limit_ends_and_the_others_begin_again(
    gateway: GatewayProcess, tmp_path: Path
) -> None:
    """Nothing in the process can end it, so the process is replaced."""
    async with (
        browser(gateway.url, "overrun") as page,
        working(gateway, tmp_path, "--concurrency", "2") as worker,
    ):
        child = worker.child
        go = tmp_path / "go"
        other = await gateway.task("patient", str(go), user_id="overrun")
        await page.event("task_started", task_id=other["task_id"])
        blocked = await gateway.task("overruns", user_id="overrun")
        told = await page.event("agent_error", task_id=blocked["task_id"], within_s=15)
        assert (told["error_type"], told["error_code"]) == ("timeout", "task_timeout")
        await asyncio.to_thread(psutil.wait_procs, [child], 5)
        await page.event("task_started", task_id=other["task_id"], attempt=2)
        go.touch()
        finished = await page.finished(other["task_id"])
        assert finished["outcome"] == "succeeded"
        assert page.all("agent_error", task_id=other["task_id"]) == []
        assert worker.child.pid != child.pid


@pytest.mark.timeout(times(60, 120))
async def test_a_task_that_ends_its_process_again_and_again_costs_only_itself(
    gateway: GatewayProcess, tmp_path: Path
) -> None:
    """All that ran beside it were dead letters within three seconds."""
    async with (
        browser(gateway.url, "poison") as page,
        working(gateway, tmp_path, "--concurrency", str(OTHERS + 1)),
    ):
        die, go = tmp_path / "die", tmp_path / "go"
        killer = await gateway.task("poison", str(die), user_id="poison")
        others = [await gateway.task("patient", str(go), user_id="poison") for _ in range(OTHERS)]
        for task in (killer, *others):
            await page.event("task_started", task_id=task["task_id"])
        die.touch()
        for task in others:
            told = await page.event("agent_error", task_id=task["task_id"])
            assert (told["error_code"], told["will_retry"]) == ("process_lost", True)
        go.touch()
        ends = [await page.finished(task["task_id"], within_s=times(40, 90)) for task in others]
        assert [end["outcome"] for end in ends] == ["succeeded"] * OTHERS
        end = await page.finished(killer["task_id"], within_s=times(40, 90))
        assert end["outcome"] == "dead_lettered"
        # Once beside the others, which does not count, and three times without them.
        assert len(lines(tmp_path, "began", killer)) == 4
        for task in others:
            assert len(lines(tmp_path, "began", task)) == 2
            assert len(page.all("agent_error", task_id=task["task_id"])) == 1
