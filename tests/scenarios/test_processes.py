"""``gateway serve --processes N``: agents beside the gateway, which nothing of theirs touches."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.scenarios.harness import GatewayProcess, browser, gateway_process
from tests.transports.world import SECRET, token

AGENTS = "tests.scenarios.blocking_agents:gateway"


@contextlib.asynccontextmanager
async def serving(folder: Path, **settings: Any) -> AsyncIterator[GatewayProcess]:
    env = {"NOTES": str(folder / "notes")}
    flags = ("--processes", "2")
    async with gateway_process(
        target=AGENTS, flags=flags, env=env, drain_grace=1, **settings
    ) as running:
        yield running


def below(running: GatewayProcess) -> list[psutil.Process]:
    """All processes that a gateway has started, and those that these have."""
    return psutil.Process(running.process.pid).children(recursive=True)


async def gone(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still live after a while."""
    _, left = await asyncio.to_thread(psutil.wait_procs, processes, 10)
    return left


async def test_what_its_agents_block_and_kill_is_not_the_gateways(tmp_path: Path) -> None:
    """A loop that is blocked for three seconds, and a process that dies three times."""
    async with (
        serving(tmp_path, retry_base=0.05) as running,
        browser(running.url, "ann") as page,
    ):
        die = tmp_path / "die"
        die.touch()
        blocked = await running.task("blocks", "3", user_id="ann")
        await page.event("task_started", task_id=blocked["task_id"])
        killer = await running.task("poison", str(die), user_id="ann")
        assert (await page.finished(killer["task_id"], within_s=30))["outcome"] == "dead_lettered"
        assert (await page.finished(blocked["task_id"]))["outcome"] == "succeeded"
        started = below(running)
        assert len(started) >= 2
        assert (await running.get("/health"))["status"] == "ok"
        assert await running.stop() == 0
        assert await gone(started) == []


@pytest.mark.own_store  # which has no part in it
@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGKILL])
async def test_they_end_with_the_gateway_whatever_ends_it(
    tmp_path: Path, sign: signal.Signals
) -> None:
    """With a secret they sign in with a token of their own."""
    async with (
        serving(tmp_path, token_secret=SECRET) as running,
        browser(
            running.url, token=token("ann", "events:read tasks:write"), topics=["user:ann"]
        ) as page,
    ):
        bearer = {"Authorization": f"Bearer {token('ann', 'tasks:write')}"}
        answer = await running.http.post(
            "/api/tasks",
            json={"agent": "patient", "input": {"question": str(tmp_path / "never")}},
            headers=bearer,
        )
        await page.event("task_started", task_id=answer.json()["task_id"])
        started = below(running)
        page.may_be_lost = True
        running.process.send_signal(sign)
        await running.process.wait()
        assert await gone(started) == []


@pytest.mark.own_store
async def test_agents_to_run_there_have_to_be_named() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "serve", "--processes", "2"),
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()
    assert process.returncode == 2
    assert b"--processes runs agents: name their module, as MODULE:GATEWAY" in said
